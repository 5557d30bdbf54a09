// The trainer on a GPU: its memory, that it does not wait, that it is bitwise reproducible where requested,
// and that it resumes from checkpoints saved on a CPU or a GPU.
#include "train/trainer.h"

#include "checkpoint/checkpoint.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "device/gpu.h"
#include "gpu_support.h"
#include "kernels/cuda/product.h"
#include "model/device_timing.h"
#include "run/metrics_line.h"
#include "start/choose_device.h"
#include "start/data_sources.h"
#include "start/describe.h"
#include "start/start.h"
#include "train/recorder.h"
#include "train/training_step.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::train {
namespace {

namespace fs = std::filesystem;
using config::AttentionBackend;
using config::Device;
using config::Dtype;

constexpr int64_t kVocabulary = 50;

// nanoGPT's format: raw uint16.
fs::path write_tokens(const fs::path& path, int64_t count) {
  std::vector<uint16_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<uint16_t>((i * i + 7 * i + i / 11) % kVocabulary));
  }
  core::AtomicFile file(path);
  file.write(std::as_bytes(std::span(tokens)));
  file.commit();
  return path;
}

// Validation tokens for the training on `tokens`.
fs::path validation_beside(const fs::path& tokens) {
  return tokens.parent_path() / "validation.bin";
}

config::Config small_config(const fs::path& tokens) {
  config::Config config;
  config.model.vocab_size = kVocabulary;
  config.model.hidden_size = 64;
  config.model.num_hidden_layers = 2;
  config.model.num_attention_heads = 4;
  config.model.intermediate_size = 96;
  config.model.attention.kind = config::AttentionKind::kLearnedPn;
  config.data.train = {tokens.string()};
  config.data.validation = {validation_beside(tokens).string()};
  config.data.sequence_length = 48;
  config.train.device = Device::kCuda;
  config.train.dtype = Dtype::kFloat32;
  config.train.max_steps = 6;
  config.train.global_batch_size = 8;
  config.train.micro_batch_size = 4;
  config.optimizer.lr = 1e-2;
  // About as large as the mean gradient's elements: an update is then a smooth function of the gradient, not
  // almost its sign, so that rounding errors stay small.
  config.optimizer.eps = 1e-2;
  config.evaluate.every = 2;
  config.evaluate.batches = 2;
  config.log.every = 1;
  config.log.tensorboard = false;
  return config;
}

// Large enough that tensors dominate the memory, not page remainders.
config::Config config_of_memory(const fs::path& tokens, Dtype dtype, AttentionBackend backend) {
  config::Config config = small_config(tokens);
  config.model.vocab_size = 8000;
  config.model.hidden_size = 512;
  config.model.num_hidden_layers = 4;
  config.model.num_attention_heads = 8;
  config.model.intermediate_size = 1376;
  config.data.sequence_length = 512;
  config.train.global_batch_size = 32;
  config.train.micro_batch_size = 16;
  config.train.dtype = dtype;
  config.train.attention_backend = backend;
  config.log.every = 1000;
  config.train.max_steps = 1000;
  return config;
}

// The part of the trainer that runs at each step.
class Loop {
 public:
  Loop(config::Config config, const fs::path& run_directory)
      : config_(resolved(std::move(config))),
        sources_(start::open_data(config_)),
        sampler_(config_.run.seed, sources_.num_windows),
        step_(config_,
              {.config = config_.model,
               .sequence_length = config_.data.sequence_length,
               .document_token_id =
                   config_.data.reset_at_document ? config_.data.document_token_id : std::nullopt},
              start::execution_of(config_.train), alone_),
        loader_(sources_.training, sampler_, start::loader_options(config_, /*first_step=*/0, 0, 1)),
        pacer_(start::execution_of(config_.train).device) {
    step_.model().parameters().initialize(config_.run.seed);
    fs::create_directories(run_directory);
    recorder_ = std::make_unique<Recorder>(config_, step_.model(), run::RunDirectory(run_directory),
                                           checkpoint::TrainerState(),
                                           /*has_earlier_points=*/false, alone_);
    recorder_->start();
  }

  void run(int64_t num_steps) {
    for (int64_t i = 0; i < num_steps; ++i) {
      recorder_->record(step_.run(++number_, loader_, timers_), step_.model());
      recorder_->finish_step(/*notable=*/false);
      pacer_.end_step();
    }
  }

  const config::Config& config() const { return config_; }

 private:
  static config::Config resolved(config::Config config) {
    start::choose_device(config);
    return config;
  }

  const config::Config config_;
  parallel::Communicator alone_;
  const start::DataSources sources_;
  const data::WindowSampler sampler_;
  TrainingStep step_;
  data::BatchLoader loader_;
  device::StepPacer pacer_;
  std::unique_ptr<Recorder> recorder_;
  metrics::PhaseTimers timers_ = make_phase_timers();
  int64_t number_ = 0;
};

// During its lifetime, operations that wait for the GPU throw.
class NoWaiting {
 public:
  NoWaiting() { c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR); }
  ~NoWaiting() { c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED); }
  NoWaiting(const NoWaiting&) = delete;
  NoWaiting& operator=(const NoWaiting&) = delete;
};

class TrainerOnGpu : public kernels::OnGpu {
 protected:
  c10::CachingDeviceAllocator::DeviceStats memory() const {
    model::synchronize(device());
    return c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(device().index());
  }

  fs::path tokens() const {
    const fs::path path = directory_ / "tokens.bin";
    if (!fs::exists(path)) {
      write_tokens(path, 20'000);
      write_tokens(validation_beside(path), 19'000);
    }
    return path;
  }

  // A run as `ssgpt train` starts it; `resume`: --resume auto.
  void train_to(int64_t max_steps, config::Config config, const std::string& name,
                bool resume = false) const {
    config.train.max_steps = max_steps;
    const fs::path file = directory_ / (name + ".yaml");
    core::write_text_atomically(file, config::dump(config));
    start::Options options;
    options.config = file;
    options.run_directory = directory_ / name;
    if (resume) options.resume = "auto";
    parallel::Communicator alone;
    std::optional<core::StopSignal> stop_signal;
    const TrainResult result = train(start::begin(options, alone), "test", alone, stop_signal);
    ASSERT_EQ(result.step, max_steps);
  }

  std::vector<double> losses(const std::string& name, const std::string& figure = "train/loss") const {
    std::vector<double> values;
    for (const run::MetricsLine& line :
         run::read_metrics(run::RunDirectory(directory_ / name).metrics(), /*first_step=*/0).lines) {
      if (const auto value = line.value(figure)) values.push_back(*value);
    }
    return values;
  }

  // Weights and moments of the checkpoint at `step`, as stored in its files.
  std::vector<std::string> state(const std::string& name, int64_t step) const {
    const checkpoint::Snapshot snapshot = checkpoint::read(
        run::RunDirectory(directory_ / name).checkpoint(step), /*with_optimizer=*/true, /*verify=*/true);
    std::vector<std::string> bytes;
    for (const at::Tensor& flat : {snapshot.flat.master, snapshot.flat.exp_avg, snapshot.flat.exp_avg_sq}) {
      bytes.emplace_back(static_cast<const char*>(flat.const_data_ptr()), flat.nbytes());
    }
    return bytes;
  }

  const TemporaryDirectory directory_;
};

TEST_F(TrainerOnGpu, ChoosesItBfloat16AndTheFasterAttentionWhereTheConfigLeavesItOpen) {
  config::Config config = config_of_memory(tokens(), Dtype::kAuto, AttentionBackend::kAuto);
  config.train.device = Device::kAuto;
  start::choose_device(config);
  EXPECT_EQ(config.train.device, Device::kCuda);
  EXPECT_EQ(config.train.dtype, Dtype::kBfloat16);
  EXPECT_TRUE(config.train.attention_backend == AttentionBackend::kCudnn ||
              config.train.attention_backend == AttentionBackend::kFlash);
  const device::GpuDescription gpu = start::gpu_of(config.train).value();
  EXPECT_EQ(gpu.index, device().index());
  EXPECT_FALSE(gpu.name.empty());
  EXPECT_LE(device::free_gpu_memory(), gpu.memory_bytes);
}

TEST_F(TrainerOnGpu, HoldsWhatThePlanSaysAndNoMoreAfterTheFirstStep) {
  struct Case {
    Dtype dtype;
    AttentionBackend backend;
    bool documents = false;
    bool deterministic = false;
  };
  constexpr auto kBf16 = Dtype::kBfloat16;
  for (const Case& of : {Case{kBf16, AttentionBackend::kCudnn}, Case{kBf16, AttentionBackend::kFlash},
                         Case{kBf16, AttentionBackend::kFlash, /*documents=*/true},
                         Case{kBf16, AttentionBackend::kFlash, /*documents=*/false, /*deterministic=*/true},
                         Case{kBf16, AttentionBackend::kEfficient},
                         Case{kBf16, AttentionBackend::kEfficient, /*documents=*/true},
                         Case{Dtype::kFloat32, AttentionBackend::kEfficient}}) {
    SCOPED_TRACE(testing::Message() << to_string(of.backend) << of.documents << of.deterministic);
    device::release_cached_memory(device());
    const int64_t before = memory().allocated_bytes[0].current;
    config::Config config = config_of_memory(tokens(), of.dtype, of.backend);
    config.train.deterministic = of.deterministic;
    config.data.reset_at_document = of.documents;
    if (of.documents)
      config.data.document_token_id = kVocabulary;  // not in the text: one document per window
    Loop loop(config, directory_ / "memory");
    c10::getDeviceAllocator(at::kCUDA)->resetPeakStats(device().index());
    loop.run(1);
    const auto first = memory();
    loop.run(5);
    const auto later = memory();
    // Compares requested bytes: from the second step on tensors come from split blocks, which may be larger
    // than needed, and a tensor that fits in no block may take another segment of 20 MiB.
    EXPECT_EQ(later.requested_bytes[0].current, first.requested_bytes[0].current);
    EXPECT_EQ(later.requested_bytes[0].peak, first.requested_bytes[0].peak);
    EXPECT_LE(later.reserved_bytes[0].peak, first.reserved_bytes[0].peak + (int64_t{40} << 20));
    EXPECT_EQ(later.num_alloc_retries, 0);

    const auto peak = static_cast<double>(later.allocated_bytes[0].peak - before);
    const auto estimate = static_cast<double>(start::plan_memory(loop.config(), /*num_ranks=*/1).total());
    EXPECT_NEAR(peak / estimate, 1.0, 0.1) << peak << " bytes, estimated " << estimate;
  }
}

TEST_F(TrainerOnGpu, DoesNotWaitInAStepWithoutALine) {
  for (const bool documents : {false, true}) {
    config::Config config = small_config(tokens());
    config.log.every = 1000;
    config.train.max_steps = 1000;
    config.data.reset_at_document = documents;
    if (documents) config.data.document_token_id = 3;
    Loop loop(config, directory_ / "no-waiting");
    loop.run(3);  // memory is allocated, kernels are loaded
    const NoWaiting no_waiting;
    EXPECT_NO_THROW(loop.run(5));
  }
}

TEST_F(TrainerOnGpu, IsNotMoreThanTwoStepsBehindTheHost) {
  device::StepPacer pacer(device());
  const at::Tensor a = at::ones({4096, 4096}, at::TensorOptions(device()).dtype(at::kFloat));
  std::vector<c10::Event> done;
  for (size_t step = 0; step < 8; ++step) {
    for (int i = 0; i < 10; ++i) at::mm(a, a);
    done.emplace_back(at::kCUDA);
    done.back().record(c10::cuda::getCurrentCUDAStream());
    pacer.end_step();
    if (step < device::StepPacer::kLead) continue;
    EXPECT_TRUE(done[step - device::StepPacer::kLead].query()) << step;
  }
}

TEST_F(TrainerOnGpu, RepeatsItselfBitForBitWhereItIsDeterministic) {
  for (const Dtype dtype : {Dtype::kBfloat16, Dtype::kFloat32}) {
    config::Config config = small_config(tokens());
    config.train.dtype = dtype;
    config.train.deterministic = true;
    const std::string one = dtype == Dtype::kFloat32 ? "one-float32" : "one-bfloat16";
    train_to(6, config, one);
    train_to(6, config, one + "-again");
    EXPECT_EQ(losses(one), losses(one + "-again"));
    EXPECT_EQ(losses(one, "validation/loss"), losses(one + "-again", "validation/loss"));
    EXPECT_TRUE(state(one, 6) == state(one + "-again", 6));
  }
}

TEST_F(TrainerOnGpu, GoesOnBitForBitFromItsOwnCheckpoint) {
  for (const Dtype dtype : {Dtype::kBfloat16, Dtype::kFloat32}) {
    config::Config config = small_config(tokens());
    config.train.dtype = dtype;
    config.train.deterministic = true;
    config.train.attention_backend = AttentionBackend::kAuto;
    const std::string whole = dtype == Dtype::kFloat32 ? "whole-float32" : "whole-bfloat16";
    train_to(6, config, whole);
    train_to(3, config, whole + "-in-two");
    train_to(6, config, whole + "-in-two", /*resume=*/true);
    EXPECT_EQ(losses(whole), losses(whole + "-in-two"));
    EXPECT_TRUE(state(whole, 6) == state(whole + "-in-two", 6));
  }
}

// Not deterministic, so that algorithms are tuned: the checkpoint must preserve the choices. Only GEMMs have
// the same bits then (attention's backward need not).
TEST_F(TrainerOnGpu, KeepsItsChoicesOfProductsOnResumeUntilItIsToldNotTo) {
  config::Config config = small_config(tokens());
  config.train.dtype = Dtype::kBfloat16;
  const auto choices = [this](int64_t step) {
    return checkpoint::read_summary(run::RunDirectory(directory_ / "chosen").checkpoint(step))
        .trainer->products;
  };
  train_to(3, config, "chosen");
  ASSERT_TRUE(choices(3));
  EXPECT_EQ(choices(3)->library, kernels::cuda::product_library());
  // Forward, input gradient and weight gradient of qkv, output, gate and up, down, and the head; some of
  // these small shapes may coincide.
  EXPECT_GE(choices(3)->algorithms.size(), 10u);
  EXPECT_LE(choices(3)->algorithms.size(), 15u);
  train_to(6, config, "chosen", /*resume=*/true);
  EXPECT_EQ(choices(6), choices(3));
  config.train.tune_products = false;
  train_to(7, config, "chosen", /*resume=*/true);
  EXPECT_EQ(choices(7), std::nullopt);
  config.train.tune_products = true;
  config.train.deterministic = true;
  train_to(8, config, "chosen", /*resume=*/true);
  EXPECT_EQ(choices(8), std::nullopt);
}

// In fp32 the two add the same numbers in different orders, some 1e-7 of a loss at first. An update is a
// smooth function of the gradient here, so the difference grows slowly; 1e-4 leaves it three orders of
// magnitude, and is a hundredth of the change of the loss in one step.
constexpr double kLossTolerance = 1e-4;

TEST_F(TrainerOnGpu, FollowsTheCpusLossInFloat32) {
  config::Config config = small_config(tokens());
  train_to(20, config, "gpu");
  config.train.device = Device::kCpu;
  train_to(20, config, "cpu");
  for (const std::string figure : {"train/loss", "validation/loss"}) {
    const std::vector<double> gpu = losses("gpu", figure);
    const std::vector<double> cpu = losses("cpu", figure);
    ASSERT_EQ(gpu.size(), figure == "train/loss" ? 20u : 10u);
    EXPECT_THAT(gpu, testing::Pointwise(testing::DoubleNear(kLossTolerance), cpu)) << figure;
    EXPECT_GT(cpu.front() - cpu.back(), 0.1) << "nothing was learned that the two could differ in";
  }
}

TEST_F(TrainerOnGpu, GoesOnFromACheckpointOfACpuAndBack) {
  config::Config on_gpu = small_config(tokens());
  config::Config on_cpu = on_gpu;
  on_cpu.train.device = Device::kCpu;
  train_to(9, on_cpu, "cpu-alone");
  train_to(3, on_cpu, "in-turn");
  train_to(6, on_gpu, "in-turn", /*resume=*/true);
  train_to(9, on_cpu, "in-turn", /*resume=*/true);
  EXPECT_THAT(losses("in-turn"),
              testing::Pointwise(testing::DoubleNear(kLossTolerance), losses("cpu-alone")));
}

TEST_F(TrainerOnGpu, SwapsItsAttentionAtAStep) {
  config::Config config = small_config(tokens());
  config.train.swap_attention = {{.at_step = 3, .kind = config::AttentionKind::kSsmax}};
  train_to(6, config, "gpu-swap");
  config.train.device = Device::kCpu;
  train_to(6, config, "cpu-swap");
  EXPECT_THAT(losses("gpu-swap"),
              testing::Pointwise(testing::DoubleNear(kLossTolerance), losses("cpu-swap")));
}

}  // namespace
}  // namespace ssgpt::train
