#include "start/choose_device.h"

#include "core/check.h"
#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "device/index.h"
#include "device/machine.h"
#include "device/spec_sheet.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/table.h"
#include "kernels/ops.h"
#include "model/device_timing.h"
#include "model/linear.h"
#include "parallel/error_text.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <string>

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::start {
namespace {

using config::AttentionBackend;

constexpr double kLeastGainOfBfloat16 = 1.1;

// Seconds of forward and backward through one layer of `spec` and its head, the best of a few calls.
double measure_layer(const config::Config& config, const model::GPTSpec& spec, int64_t rows,
                     const model::Execution& execution) {
  constexpr int kCalls = 3;
  model::GPT model(spec, execution);
  model.parameters().initialize(config.run.seed);
  model.parameters().refresh_compute();
  const at::Tensor tokens =
      at::randint(spec.config.vocab_size, {rows, spec.sequence_length}, at::TensorOptions().dtype(at::kLong));
  const at::Tensor loss_sum = at::zeros({1}, at::TensorOptions(execution.device).dtype(at::kDouble));
  const auto run = [&] {
    model.forward_backward(tokens, tokens, loss_sum);
  };
  run();  // allocates buffers, starts threads, loads kernels
  return model::fastest_call(execution.device, kCalls, run);
}

model::GPTSpec one_layer(const config::Config& config, int64_t sequence_length) {
  constexpr int64_t kSmallVocabulary = 2048;  // the head costs the same in all that is compared
  model::GPTSpec spec{.config = config.model, .sequence_length = sequence_length, .document_token_id = {}};
  spec.config.num_hidden_layers = 1;
  spec.config.vocab_size = std::min(config.model.vocab_size, kSmallVocabulary);
  return spec;
}

void measure_dtype(config::Config& config) {
  const model::GPTSpec spec = one_layer(config, std::min<int64_t>(config.data.sequence_length, 256));
  const int64_t rows = std::clamp<int64_t>(512 / spec.sequence_length, 1, config.train.micro_batch_size);
  const auto tokens_per_second = [&](config::Dtype dtype) {
    const at::ScalarType type = dtype == config::Dtype::kBfloat16 ? at::kBFloat16 : at::kFloat;
    const double seconds = measure_layer(config, spec, rows, {.device = at::kCPU, .dtype = type});
    return static_cast<double>(rows * spec.sequence_length) / seconds;
  };
  config.train.dtype = dtype_of_cpu(device::bf16_instructions(), tokens_per_second);
}

// The candidates for the fastest backend on a GPU; found by rules, so that all ranks have the same.
std::vector<AttentionBackend> candidates_by_rules(const config::Config& config) {
  // LibTorch's flash attention has no backward for wider heads on GPUs of compute capability 8.6, 8.9 and
  // 12.0: running one layer shows whether this is such a GPU.
  constexpr int64_t kWidestFlashEverywhere = 192;
  std::vector<AttentionBackend> candidates;
  for (const AttentionBackend backend : {AttentionBackend::kCudnn, AttentionBackend::kFlash}) {
    if (!config::obstacle(backend, config)) candidates.push_back(backend);
  }
  const auto reason = config::obstacle(AttentionBackend::kEfficient, config);
  const int64_t head_dim = config::head_dim(config.model);
  if (candidates.empty() || (head_dim > kWidestFlashEverywhere && !reason)) {
    if (reason) {
      throw core::UsageError(
          "No fused attention computes this model on a GPU; the least demanding one, efficient, is "
          "ruled out: {}. Change the model, or set train.device=cpu.",
          *reason);
    }
    candidates.push_back(AttentionBackend::kEfficient);
  }
  return candidates;
}

// Measured in the run's shape, since that decides which one is faster.
void measure_attention_backend(config::Config& config) {
  const model::GPTSpec spec = one_layer(config, config.data.sequence_length);
  const auto seconds = [&](AttentionBackend backend) {
    config::TrainConfig train = config.train;
    train.attention_backend = backend;
    return measure_layer(config, spec, train.micro_batch_size, execution_of(train));
  };
  config.train.attention_backend = fastest_backend(candidates_by_rules(config), seconds);
  device::release_cached_memory(execution_of(config.train).device);
}

// A square GEMM large enough to fill a device.
struct Product {
  int64_t size;
  int calls_at_once;  // between two waits for the device
  int least_calls;
  double flops() const { return 2.0 * std::pow(static_cast<double>(size), 3); }
};

Product product_of(at::Device device) {
  return device.is_cpu() ? Product{.size = 1024, .calls_at_once = 1, .least_calls = 4}
                         : Product{.size = 8192, .calls_at_once = 5, .least_calls = 5};
}

// Limits of the GPU kernels, whatever the backend.
void require_kernels(const config::ModelConfig& model, config::Dtype dtype) {
  const int64_t bytes = model.hidden_size * (dtype == config::Dtype::kBfloat16 ? 2 : 4);
  const bool aligned = bytes % 16 == 0;
  const int64_t widest = aligned ? kernels::cuda::kWidestNorm : kernels::cuda::kWidestUnalignedNorm;
  if (model.qk_norm == config::QkNorm::kRms && config::head_dim(model) > kernels::cuda::kMostQkNormDims) {
    throw core::UsageError(
        "model.qk_norm = rms: a GPU takes heads of at most {} dimensions, not {} (model.hidden_size {} / "
        "model.num_attention_heads {}). Change them, or set train.device=cpu.",
        kernels::cuda::kMostQkNormDims, config::head_dim(model), model.hidden_size,
        model.num_attention_heads);
  }
  if (model.hidden_size <= widest) return;
  throw core::UsageError(
      "model.hidden_size = {}: a GPU takes at most {}{}. Change it, or set train.device=cpu.",
      model.hidden_size, widest, aligned ? "" : " where a row of activations is not a multiple of 16 bytes");
}

void measure_the_rest(config::Config& config) {
  if (config.train.dtype == config::Dtype::kAuto) measure_dtype(config);
  if (config.train.device == config::Device::kCuda &&
      config.train.attention_backend == AttentionBackend::kAuto) {
    measure_attention_backend(config);
  }
}

}  // namespace

config::TrainConfig choose_by_rules(const config::Config& config, bool has_gpu) {
  config::Config chosen = config;
  config::TrainConfig& train = chosen.train;
  if (train.device == config::Device::kAuto) {
    train.device = has_gpu ? config::Device::kCuda : config::Device::kCpu;
  }
  if (train.device != config::Device::kCuda) return train;
  if (train.dtype == config::Dtype::kAuto) train.dtype = config::Dtype::kBfloat16;
  require_kernels(config.model, train.dtype);
  if (train.attention_backend == AttentionBackend::kAuto) {
    const std::vector<AttentionBackend> candidates = candidates_by_rules(chosen);
    if (candidates.size() == 1) train.attention_backend = candidates.front();  // else measured later
  } else if (const auto reason = config::obstacle(train.attention_backend, chosen)) {
    throw core::UsageError("train.attention_backend = {}: {}.", to_string(train.attention_backend), *reason);
  }
  return train;
}

AttentionBackend fastest_backend(const std::vector<AttentionBackend>& candidates,
                                 const std::function<double(AttentionBackend)>& seconds) {
  AttentionBackend fastest = AttentionBackend::kAuto;
  double least = std::numeric_limits<double>::infinity();
  std::vector<std::string> figures;
  for (const AttentionBackend candidate : candidates) {
    try {
      const double taken = seconds(candidate);
      figures.push_back(fmt::format("{} {:.2f} ms", to_string(candidate), 1e3 * taken));
      if (taken < least) {
        least = taken;
        fastest = candidate;
      }
    } catch (const std::exception& error) {
      core::log::warning("train.attention_backend auto: {} is left out: {}", to_string(candidate),
                         parallel::first_line(error.what()));
    }
  }
  if (fastest == AttentionBackend::kAuto) {
    throw core::RunError(
        "No attention backend computes one layer of this model on this GPU; the warnings above say why. "
        "train.attention_backend=efficient demands the least of a GPU, and a smaller "
        "train.micro_batch_size needs less memory.");
  }
  core::log::info("train.attention_backend auto: {} (one layer forward and backward: {})", to_string(fastest),
                  fmt::join(figures, ", "));
  return fastest;
}

bool bfloat16_is_worth_it(double float32_speed, double bfloat16_speed) {
  return bfloat16_speed / float32_speed >= kLeastGainOfBfloat16;
}

config::Dtype dtype_of_cpu(const std::optional<std::vector<std::string>>& instructions,
                           const std::function<double(config::Dtype)>& speed) {
  if (instructions && instructions->empty()) {
    core::log::info(
        "train.dtype auto: float32 (this processor has no bf16 instructions, AMX-BF16 or AVX512-BF16; "
        "nothing was measured)");
    return config::Dtype::kFloat32;
  }
  const double float32 = speed(config::Dtype::kFloat32);
  const double bfloat16 = speed(config::Dtype::kBfloat16);
  const bool worth_it = bfloat16_is_worth_it(float32, bfloat16);
  const config::Dtype chosen = worth_it ? config::Dtype::kBfloat16 : config::Dtype::kFloat32;
  core::log::info(
      "train.dtype auto: {} (one layer forward and backward: float32 {:.0f} tokens/s, bfloat16 {:.0f}{}, "
      "that is {:.3f} times as many; bfloat16 is chosen from {} times on)",
      to_string(chosen), float32, bfloat16,
      instructions ? fmt::format(" by {}", core::listed(*instructions)) : "", bfloat16 / float32,
      kLeastGainOfBfloat16);
  return chosen;
}

void take_own_gpu(const parallel::Environment& environment, bool deterministic) {
  device::take_gpu(parallel::choose_gpu(environment, device::require_gpus()), deterministic);
  kernels::cuda::use_choices(std::nullopt);  // left by an earlier training in this process
  const device::GpuDescription gpu = device::current_gpu();
  core::log::info("Rank {} computes on GPU {}, {}; float32 GEMMs in float32 (TF32 off){}.", environment.rank,
                  gpu.index, device::to_string(gpu), deterministic ? ", deterministic algorithms" : "");
}

void resolve_by_rules(config::Config& config, const parallel::Environment& environment) {
  // Only if needed, since has_usable_gpu() initialises the driver.
  const bool asks_for_gpu = config.train.device == config::Device::kAuto;
  config.train = choose_by_rules(config, asks_for_gpu && device::has_usable_gpu());
  if (config.train.device == config::Device::kCuda) take_own_gpu(environment, config.train.deterministic);
}

void choose_device(config::Config& config, const parallel::Environment& environment) {
  resolve_by_rules(config, environment);
  measure_the_rest(config);
}

void take_choices(config::Config& config, const config::TrainConfig& chosen,
                  const parallel::Environment& environment) {
  config.train.device = chosen.device;
  config.train.dtype = chosen.dtype;
  config.train.attention_backend = chosen.attention_backend;
  if (chosen.device == config::Device::kCuda) take_own_gpu(environment, config.train.deterministic);
}

double measure_peak_flops(const model::Execution& execution) {
  const Product how = product_of(execution.device);
  constexpr double kSeconds = 0.1;
  const auto options = at::TensorOptions(execution.device).dtype(execution.dtype);
  double best_seconds = std::numeric_limits<double>::infinity();
  {
    // A GPU's clock depends on how many bits toggle, so it multiplies random numbers, as in training.
    const at::Tensor a = execution.device.is_cpu() ? at::ones({how.size, how.size}, options)
                                                   : at::randn({how.size, how.size}, options);
    const at::Tensor product = at::empty({how.size, how.size}, options);
    using Clock = std::chrono::steady_clock;
    const auto seconds_since = [](Clock::time_point begin) {
      return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    const auto start = Clock::now();
    for (int calls = 0; calls < how.least_calls || seconds_since(start) < kSeconds;
         calls += how.calls_at_once) {
      const double seconds = model::fastest_call(execution.device, how.calls_at_once,
                                                 [&] { model::linear_forward(a, a, product); });
      best_seconds = std::min(best_seconds, seconds);
    }
  }
  device::release_cached_memory(execution.device);  // the model's allocations have other sizes
  return how.flops() / best_seconds;
}

double measure_peak_flops_if_room(const model::Execution& execution) {
  try {
    return measure_peak_flops(execution);
  } catch (const c10::OutOfMemoryError&) {
    device::release_cached_memory(execution.device);
    return 0.0;
  }
}

// Decided by the amount of work alone, so that what a run records does not depend on how busy the machine
// was. The shortest measurement takes at most a hundredth of the work; on a much faster device it takes 0.1
// s, next to a training of one second.
bool is_worth_measuring(double flops, at::Device device) {
  constexpr double kWorth = 100.0;
  const Product how = product_of(device);
  return flops >= kWorth * how.least_calls * how.flops();
}

std::optional<double> spec_sheet_flops(const config::TrainConfig& train,
                                       parallel::Communicator& communicator) {
  const std::optional<device::GpuDescription> gpu = gpu_of(train);
  if (!gpu) return std::nullopt;
  const std::optional<double> own = device::dense_peak_flops(gpu->name, train.dtype);
  double sum = 0.0;
  for (const double flops : communicator.gather_double(own.value_or(0.0))) {
    if (flops == 0.0) return std::nullopt;
    sum += flops;
  }
  return sum;
}

std::optional<device::GpuDescription> gpu_of(const config::TrainConfig& train) {
  return train.device == config::Device::kCuda ? std::optional(device::current_gpu()) : std::nullopt;
}

model::Execution execution_of(const config::TrainConfig& train) {
  SSGPT_CHECK(train.device != config::Device::kAuto, "the device must be resolved");
  SSGPT_CHECK(train.dtype != config::Dtype::kAuto, "the dtype must be resolved");
  model::Execution execution;
  execution.dtype = train.dtype == config::Dtype::kBfloat16 ? at::kBFloat16 : at::kFloat;
  if (train.device == config::Device::kCpu) return execution;
  execution.device = device::with_index(at::kCUDA);
  switch (train.attention_backend) {
    case AttentionBackend::kAuto:
      SSGPT_CHECK(false, "the attention backend must be resolved");
    case AttentionBackend::kCudnn:
      execution.attention_backend = kernels::AttentionBackend::kCudnn;
      break;
    case AttentionBackend::kFlash:
      execution.attention_backend = kernels::AttentionBackend::kFlash;
      break;
    case AttentionBackend::kEfficient:
      execution.attention_backend = kernels::AttentionBackend::kEfficient;
      break;
  }
  return execution;
}

}  // namespace ssgpt::start
