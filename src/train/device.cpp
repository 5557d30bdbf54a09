#include "train/device.h"

#include "core/check.h"
#include "core/log.h"
#include "model/linear.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>

namespace ssgpt::train {
namespace {

// Tokens a second of forward and backward through one layer and a small head, the best of a few calls.
double measure_speed(const config::Config& config, at::ScalarType dtype) {
  constexpr int kCalls = 3;
  model::GPTSpec spec;
  spec.config = config.model;
  spec.config.num_hidden_layers = 1;
  spec.config.vocab_size = std::min<int64_t>(config.model.vocab_size, 2048);
  spec.sequence_length = std::min<int64_t>(config.data.sequence_length, 256);
  model::GPT model(spec, {.device = at::kCPU, .dtype = dtype});
  model.parameters().initialize(config.run.seed);
  model.parameters().refresh_compute();
  const int64_t rows = std::clamp<int64_t>(512 / spec.sequence_length, 1, config.train.micro_batch_size);
  const at::Tensor tokens =
      at::randint(spec.config.vocab_size, {rows, spec.sequence_length}, at::TensorOptions().dtype(at::kLong));
  const at::Tensor loss_sum = at::zeros({1}, at::TensorOptions().dtype(at::kDouble));
  double best_seconds = std::numeric_limits<double>::infinity();
  for (int call = 0; call <= kCalls; ++call) {  // call 0 allocates buffers and starts threads
    const auto begin = std::chrono::steady_clock::now();
    model.forward_backward(tokens, tokens, loss_sum);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (call > 0) best_seconds = std::min(best_seconds, seconds);
  }
  return static_cast<double>(tokens.numel()) / best_seconds;
}

}  // namespace

void resolve_device_and_dtype(config::Config& config) {
  if (config.train.device == config::Device::kAuto) config.train.device = config::Device::kCpu;
  if (config.train.dtype != config::Dtype::kAuto) return;
  const double float32 = measure_speed(config, at::kFloat);
  const double bfloat16 = measure_speed(config, at::kBFloat16);
  const bool choose_bfloat16 = bfloat16 > float32;
  config.train.dtype = choose_bfloat16 ? config::Dtype::kBfloat16 : config::Dtype::kFloat32;
  core::log::info(
      "train.dtype auto: {} (one layer forward and backward: float32 {:.0f} tokens/s, bfloat16 {:.0f})",
      choose_bfloat16 ? "bfloat16" : "float32", float32, bfloat16);
}

void resolve_together(config::Config& config, parallel::Board& board) {
  const std::string resolved = board.from_rank_zero("device and dtype", [&] {
    resolve_device_and_dtype(config);
    return config::dump(config);
  });
  const config::TrainConfig train = config::parse(resolved, "rank 0").train;
  config.train.device = train.device;
  config.train.dtype = train.dtype;
}

double measure_peak_flops(const model::Execution& execution) {
  constexpr int64_t kSize = 1024;
  constexpr int kLeastCalls = 4;
  constexpr double kSeconds = 0.1;
  const auto options = at::TensorOptions(execution.device).dtype(execution.dtype);
  const at::Tensor a = at::ones({kSize, kSize}, options);
  const at::Tensor product = at::empty({kSize, kSize}, options);
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  double best_seconds = std::numeric_limits<double>::infinity();
  const auto start = Clock::now();
  for (int call = 0; call < kLeastCalls || seconds_since(start) < kSeconds; ++call) {
    const auto begin = Clock::now();
    model::linear_forward(a, a, product);
    best_seconds = std::min(best_seconds, seconds_since(begin));
  }
  return 2.0 * kSize * kSize * kSize / best_seconds;
}

model::Execution execution_of(const config::TrainConfig& train) {
  SSGPT_CHECK(train.device == config::Device::kCpu, "the device must be resolved");
  SSGPT_CHECK(train.dtype != config::Dtype::kAuto, "the dtype must be resolved");
  return {.device = at::kCPU, .dtype = train.dtype == config::Dtype::kBfloat16 ? at::kBFloat16 : at::kFloat};
}

}  // namespace ssgpt::train
