// What `auto` stands for, and what users are told about a GPU. Without a GPU: it is described by hand.
#include "start/choose_device.h"

#include "core/check.h"
#include "core/error.h"
#include "start/describe.h"

#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::start {
namespace {

using config::AttentionBackend;
using config::Device;
using config::Dtype;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

config::Config with_head_dim(int64_t head_dim) {
  config::Config config;
  config.model.vocab_size = 64;
  config.model.num_attention_heads = 4;
  config.model.hidden_size = 4 * head_dim;
  config.model.num_hidden_layers = 2;
  config.model.intermediate_size = 8 * head_dim;
  config.data.sequence_length = 16;
  config.train.micro_batch_size = 2;
  config.train.global_batch_size = 2;
  config.train.max_steps = 1;
  return config;
}

TEST(ChooseByRules, TakesTheGpuWhereThereIsOneAndAsksTheUserFirst) {
  config::Config config = with_head_dim(64);
  EXPECT_EQ(choose_by_rules(config, /*has_gpu=*/true).device, Device::kCuda);
  EXPECT_EQ(choose_by_rules(config, /*has_gpu=*/false).device, Device::kCpu);
  config.train.device = Device::kCpu;
  EXPECT_EQ(choose_by_rules(config, /*has_gpu=*/true).device, Device::kCpu);
  config.train.device = Device::kCuda;
  EXPECT_EQ(choose_by_rules(config, /*has_gpu=*/false).device, Device::kCuda);
}

TEST(ChooseByRules, LeavesToTheCpuWhatIsMeasuredThere) {
  const config::TrainConfig train = choose_by_rules(with_head_dim(64), /*has_gpu=*/false);
  EXPECT_EQ(train.dtype, Dtype::kAuto);
  EXPECT_EQ(train.attention_backend, AttentionBackend::kAuto);
}

TEST(ChooseByRules, ComputesInBfloat16OnAGpuUnlessToldOtherwise) {
  config::Config config = with_head_dim(64);
  EXPECT_EQ(choose_by_rules(config, /*has_gpu=*/true).dtype, Dtype::kBfloat16);
  config.train.dtype = Dtype::kFloat32;
  EXPECT_EQ(choose_by_rules(config, /*has_gpu=*/true).dtype, Dtype::kFloat32);
}

struct BackendCase {
  const char* name;
  int64_t head_dim;
  Dtype dtype;
  bool deterministic;
  bool documents;
  AttentionBackend chosen;  // auto: to be measured
};

class ChosenBackend : public testing::TestWithParam<BackendCase> {};

TEST_P(ChosenBackend, CanWhatTheRunAsksFor) {
  const BackendCase& of = GetParam();
  config::Config config = with_head_dim(of.head_dim);
  config.train.dtype = of.dtype;
  config.train.deterministic = of.deterministic;
  config.data.reset_at_document = of.documents;
  EXPECT_EQ(choose_by_rules(config, /*has_gpu=*/true).attention_backend, of.chosen);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, ChosenBackend,
    testing::Values(
        BackendCase{"plain", 64, Dtype::kAuto, false, false, AttentionBackend::kAuto},
        BackendCase{"bfloat16", 128, Dtype::kBfloat16, false, false, AttentionBackend::kAuto},
        BackendCase{"float32", 64, Dtype::kFloat32, false, false, AttentionBackend::kEfficient},
        BackendCase{"float32_deterministic", 64, Dtype::kFloat32, true, true, AttentionBackend::kEfficient},
        BackendCase{"deterministic", 64, Dtype::kAuto, true, false, AttentionBackend::kFlash},
        BackendCase{"documents", 64, Dtype::kAuto, false, true, AttentionBackend::kFlash},
        BackendCase{"too_wide_for_cudnn", 136, Dtype::kAuto, false, false, AttentionBackend::kFlash},
        BackendCase{"as_wide_as_flash_is_everywhere", 192, Dtype::kAuto, false, false,
                    AttentionBackend::kFlash},
        BackendCase{"too_wide_for_flash_on_some", 208, Dtype::kAuto, false, false, AttentionBackend::kAuto},
        BackendCase{"too_wide_for_flash", 264, Dtype::kAuto, false, false, AttentionBackend::kEfficient},
        BackendCase{"no_multiple_of_8", 36, Dtype::kAuto, false, false, AttentionBackend::kEfficient}),
    [](const auto& tested) { return tested.param.name; });

TEST(ChooseByRules, RefusesWhatNoBackendOrNotTheOneAskedForCan) {
  const auto message = [](const config::Config& config) -> std::string {
    try {
      choose_by_rules(config, /*has_gpu=*/true);
    } catch (const core::UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(with_head_dim(6)), AllOf(HasSubstr("No fused attention computes this model on a GPU"),
                                               HasSubstr("that 4 divides"), HasSubstr("train.device=cpu")));
  config::Config config = with_head_dim(64);
  config.train.attention_backend = AttentionBackend::kCudnn;
  EXPECT_EQ(message(config), "");
  config.train.deterministic = true;
  EXPECT_THAT(message(config), HasSubstr("train.attention_backend = cudnn: on a GPU it needs "
                                         "train.deterministic = false"));
  config.train.device = Device::kCpu;
  EXPECT_EQ(message(config), "");
}

TEST(ChooseByRules, NamesAHiddenSizeThatIsTooLargeForTheKernels) {
  const auto message = [](int64_t head_dim, int64_t heads, Dtype dtype) -> std::string {
    config::Config config = with_head_dim(head_dim);
    config.model.num_attention_heads = heads;
    config.model.hidden_size = heads * head_dim;
    config.train.dtype = dtype;
    try {
      choose_by_rules(config, /*has_gpu=*/true);
    } catch (const core::UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(128, 64, Dtype::kAuto), "");
  EXPECT_THAT(message(128, 65, Dtype::kAuto),
              AllOf(HasSubstr("model.hidden_size = 8320"), HasSubstr("8192")));
  EXPECT_EQ(message(4, 1024, Dtype::kBfloat16), "");
  // 4,100 elements of bfloat16 are no multiple of 16 bytes, of float32 they are.
  EXPECT_THAT(message(4, 1025, Dtype::kBfloat16), AllOf(HasSubstr("4096"), HasSubstr("16 bytes")));
  EXPECT_EQ(message(4, 1025, Dtype::kFloat32), "");
}

// The quickstart: 0.4 million tokens of 39.5 MFLOP, two minutes of two cores and a moment of a GPU.
TEST(IsWorthMeasuring, WhereTrainingTakesFarLongerThanTheMeasurement) {
  const double quickstart = 0.4e6 * 39.5e6;
  EXPECT_TRUE(is_worth_measuring(quickstart, at::kCPU));
  EXPECT_FALSE(is_worth_measuring(quickstart, at::kCUDA));
  EXPECT_FALSE(is_worth_measuring(1e9, at::kCPU));
  EXPECT_TRUE(is_worth_measuring(1e18, at::kCUDA));  // twenty minutes
}

TEST(FastestBackend, IsTheOneThatTakesLeastOfThoseThatWork) {
  const std::vector<AttentionBackend> both = {AttentionBackend::kCudnn, AttentionBackend::kFlash};
  const auto times = [](double cudnn, double flash) {
    return [=](AttentionBackend backend) {
      const double seconds = backend == AttentionBackend::kCudnn ? cudnn : flash;
      if (seconds < 0.0) throw std::runtime_error("no kernel for this GPU");
      return seconds;
    };
  };
  EXPECT_EQ(fastest_backend(both, times(1e-3, 2e-3)), AttentionBackend::kCudnn);
  EXPECT_EQ(fastest_backend(both, times(3e-3, 2e-3)), AttentionBackend::kFlash);
  EXPECT_EQ(fastest_backend(both, times(-1.0, 2e-3)), AttentionBackend::kFlash);
  EXPECT_EQ(fastest_backend(both, times(1e-3, -1.0)), AttentionBackend::kCudnn);
  EXPECT_THROW(fastest_backend(both, times(-1.0, -1.0)), core::RunError);
}

TEST(DtypeOfCpu, IsBfloat16WhereThatIsFasterByATenthOrMore) {
  EXPECT_FALSE(bfloat16_is_worth_it(100.0, 50.0));
  EXPECT_FALSE(bfloat16_is_worth_it(100.0, 109.0));
  EXPECT_TRUE(bfloat16_is_worth_it(100.0, 110.0));
  EXPECT_TRUE(bfloat16_is_worth_it(100.0, 111.0));
  const auto speeds = [](double float32, double bfloat16) {
    return [=](Dtype dtype) {
      return dtype == Dtype::kBfloat16 ? bfloat16 : float32;
    };
  };
  const std::vector<std::string> amx = {"AMX-BF16"};
  EXPECT_EQ(dtype_of_cpu(amx, speeds(100.0, 109.0)), Dtype::kFloat32);
  EXPECT_EQ(dtype_of_cpu(amx, speeds(100.0, 111.0)), Dtype::kBfloat16);
  // An architecture whose instructions are not known is measured.
  EXPECT_EQ(dtype_of_cpu(std::nullopt, speeds(100.0, 109.0)), Dtype::kFloat32);
  EXPECT_EQ(dtype_of_cpu(std::nullopt, speeds(100.0, 111.0)), Dtype::kBfloat16);
}

TEST(DtypeOfCpu, IsFloat32WithoutAMeasurementWhereThereAreNoInstructions) {
  const auto unmeasured = [](Dtype) -> double {
    throw std::logic_error("measured");
  };
  EXPECT_EQ(dtype_of_cpu(std::vector<std::string>{}, unmeasured), Dtype::kFloat32);
  EXPECT_THROW(dtype_of_cpu(std::vector<std::string>{"AVX512-BF16"}, unmeasured), std::logic_error);
}

TEST(ExecutionOf, IsTheCpuInTheDtypeOfTheConfig) {
  config::TrainConfig train;
  train.device = Device::kCpu;
  train.dtype = Dtype::kBfloat16;
  EXPECT_TRUE(execution_of(train).device.is_cpu());
  EXPECT_EQ(execution_of(train).dtype, at::kBFloat16);
  train.dtype = Dtype::kAuto;
  EXPECT_THROW(execution_of(train), core::InternalError);
}

const device::GpuDescription kGpu{.index = 3,
                                  .name = "NVIDIA H100 80GB HBM3",
                                  .compute_major = 9,
                                  .compute_minor = 0,
                                  .memory_bytes = uint64_t{81079} << 20};

TEST(ComputeText, SaysWhatComputesAndHow) {
  config::Config config = with_head_dim(64);
  config.train.dtype = Dtype::kBfloat16;
  config.train.attention_backend = AttentionBackend::kFlash;
  EXPECT_EQ(compute_text(config, /*num_ranks=*/1, kGpu),
            "NVIDIA H100 80GB HBM3 (81079 MiB, compute capability 9.0), bfloat16, flash attention");
  config.train.deterministic = true;
  config.parallel.zero_stage = 1;
  EXPECT_EQ(compute_text(config, /*num_ranks=*/8, kGpu),
            "8 ranks, each NVIDIA H100 80GB HBM3 (81079 MiB, compute capability 9.0), bfloat16, flash "
            "attention, deterministic, optimizer state sharded (ZeRO-1)");
  EXPECT_THAT(compute_text(config, /*num_ranks=*/1, std::nullopt),
              AllOf(HasSubstr("cpu, "), HasSubstr(" threads, bfloat16"), Not(HasSubstr("attention"))));
}

TEST(MemoryText, OfAGpuKeepsWhatIsInTheMemoryOfTheHostApart) {
  constexpr int64_t kMib = 1 << 20;
  MemoryPlan memory{
      .on_gpu = true,
      .program = 0,
      .training = {
          .parameters = 100 * kMib, .activations = 50 * kMib, .snapshot = 70 * kMib, .swap = 80 * kMib}};
  EXPECT_EQ(memory_text(memory),
            "about 150 MiB of the GPU: parameters and optimizer 100, activations 50; of the host, checkpoint "
            "snapshot 70, swap of the attention 80");
  EXPECT_EQ(memory.total(), 150u << 20);
  EXPECT_EQ(memory.without_snapshot(), 150u << 20);
  EXPECT_EQ(memory_warning(memory, 150u << 20), std::nullopt);
  EXPECT_THAT(memory_warning(memory, (150u << 20) - 1).value_or(""),
              AllOf(HasSubstr("150 MiB left"), HasSubstr("need 150"), HasSubstr("train.micro_batch_size")));

  memory.on_gpu = false;
  memory.program = 10 * kMib;
  EXPECT_EQ(
      memory_text(memory),
      "about 310 MiB: program 10, parameters and optimizer 100, activations 50, checkpoint snapshot 70, "
      "swap of the attention 80");
  EXPECT_EQ(memory.without_snapshot(), 160u << 20);
  EXPECT_EQ(memory_warning(memory, 0), std::nullopt);
}

}  // namespace
}  // namespace ssgpt::start
