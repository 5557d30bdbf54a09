#include "train/validation.h"

#include "core/check.h"
#include "core/error.h"
#include "data/sampler.h"
#include "train/windows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

namespace ssgpt::train {
namespace {

// sums: fp64 (windows), the loss summed over the `length` tokens of each window.
WindowLoss mean_of_windows(const at::Tensor& sums, int64_t length) {
  double sum = 0.0;
  double sum_of_squares = 0.0;
  const double* windows = sums.const_data_ptr<double>();
  for (int64_t i = 0; i < sums.numel(); ++i) {
    sum += windows[i];
    sum_of_squares += windows[i] * windows[i];
  }
  WindowLoss result;
  const auto count = static_cast<double>(sums.numel());
  const auto per_window = static_cast<double>(length);
  result.tokens = sums.numel() * length;
  result.loss = sum / (count * per_window);
  // Variance of a window's sum; 0 / 0 for one window.
  const double variance = (sum_of_squares - sum * sum / count) / (count - 1.0);
  result.stderr_ = sums.numel() > 1 ? std::sqrt(std::max(0.0, variance) / count) / per_window
                                    : std::numeric_limits<double>::quiet_NaN();
  return result;
}

// sums: fp64 (windows), the loss summed over each window's answers. counts: the number of answer tokens of
// each window, 1 or more. The variance of a ratio of sums is after Cochran, "Sampling Techniques", section
// 6.4.
WindowLoss mean_of_answers(const at::Tensor& sums, const std::vector<int64_t>& counts) {
  const double* windows = sums.const_data_ptr<double>();
  const auto num_windows = static_cast<double>(counts.size());
  WindowLoss result;
  double sum = 0.0;
  for (size_t i = 0; i < counts.size(); ++i) {
    sum += windows[i];
    result.tokens += counts[i];
  }
  const auto tokens = static_cast<double>(result.tokens);
  result.loss = sum / tokens;
  double sum_of_squares = 0.0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double residual = windows[i] - result.loss * static_cast<double>(counts[i]);
    sum_of_squares += residual * residual;
  }
  result.stderr_ = counts.size() > 1 ? std::sqrt(sum_of_squares / (num_windows - 1.0) * num_windows) / tokens
                                     : std::numeric_limits<double>::quiet_NaN();
  return result;
}

// Returns the loss summed over each of `num_windows` windows, fp64 on the CPU and the same on all ranks,
// which share the batches out. `read(windows)` returns their batch. For a model in training the last batch is
// padded by repetition to full size: a smaller one would need new buffers in place of training's.
template <typename Read>
at::Tensor window_sums(model::GPT& model, int64_t num_windows, int64_t batch_size,
                       parallel::Communicator& communicator, const Read& read) {
  // Each window's loss comes from one rank; adding the zeros of the others is exact.
  const at::Tensor sums =
      at::zeros({num_windows}, at::TensorOptions(model.execution().device).dtype(at::kDouble));
  const bool is_whole = model.execution().for_training;
  std::vector<int64_t> windows;
  for (int64_t first = communicator.rank() * batch_size; first < num_windows;
       first += communicator.world_size() * batch_size) {
    const int64_t rows = std::min(batch_size, num_windows - first);
    windows.clear();
    for (int64_t row = 0; row < (is_whole ? batch_size : rows); ++row) {
      windows.push_back(std::min(first + row, num_windows - 1));
    }
    const TensorBatch& batch = read(windows);
    const int64_t length = batch.inputs.size(1);
    const at::Tensor losses = model.token_losses(batch.inputs, batch.targets, batch.num_keys).cpu();
    const at::Tensor batch_sums = at::empty({rows}, at::kDouble);
    for (int64_t row = 0; row < rows; ++row) {
      const float* loss = losses.const_data_ptr<float>() + row * length;
      double window = 0.0;
      for (int64_t t = 0; t < length; ++t) window += static_cast<double>(loss[t]);
      batch_sums.mutable_data_ptr<double>()[row] = window;
    }
    sums.narrow(0, first, rows).copy_(batch_sums);
  }
  communicator.collectives().start_all_reduce(sums).wait();
  return sums.cpu();
}

}  // namespace

WindowLoss mean_window_loss(model::GPT& model, const data::TokenSource& source, int64_t num_windows,
                            int64_t batch_size, parallel::Communicator& communicator) {
  const int64_t length = model.spec().sequence_length;
  const int64_t available = source.num_windows(length);
  SSGPT_CHECK(num_windows > 0 && batch_size > 0, "{} windows in batches of {}", num_windows, batch_size);
  if (num_windows > available) {
    throw core::InputError("{} windows of {} tokens were asked for, and the data hold {}: {} tokens in all.",
                           num_windows, length, available, source.num_tokens());
  }
  WindowReader reader(source, length, model.spec().config.vocab_size);
  std::vector<int64_t> first_tokens;
  const auto read = [&](const std::vector<int64_t>& windows) -> const TensorBatch& {
    first_tokens.clear();
    for (const int64_t window : windows) {
      first_tokens.push_back(data::sampled_window(window, num_windows, available) * length);
    }
    return reader.read(first_tokens);
  };
  return mean_of_windows(window_sums(model, num_windows, batch_size, communicator, read), length);
}

WindowLoss mean_example_loss(model::GPT& model, const data::PackedExamples& examples, int64_t num_windows,
                             int64_t batch_size, parallel::Communicator& communicator) {
  const int64_t available = examples.num_windows();
  SSGPT_CHECK(num_windows > 0 && num_windows <= available && batch_size > 0,
              "{} windows of {} in batches of {}", num_windows, available, batch_size);
  std::vector<int64_t> counts;
  for (int64_t i = 0; i < num_windows; ++i) {
    counts.push_back(examples.answer_tokens(data::sampled_window(i, num_windows, available)));
  }
  ExampleWindows windows(examples);
  std::vector<int64_t> indices;
  const auto read = [&](const std::vector<int64_t>& numbers) -> const TensorBatch& {
    indices.clear();
    for (const int64_t window : numbers) {
      indices.push_back(data::sampled_window(window, num_windows, available));
    }
    return windows.read(indices);
  };
  return mean_of_answers(window_sums(model, num_windows, batch_size, communicator, read), counts);
}

}  // namespace ssgpt::train
