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

// sums: fp64 (windows), the loss summed over the `length` tokens of each.
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
  const double variance =
      (sum_of_squares - sum * sum / count) / (count - 1.0);  // of a window's sum; 0 / 0 for one window
  result.stderr_ = sums.numel() > 1 ? std::sqrt(std::max(0.0, variance) / count) / per_window
                                    : std::numeric_limits<double>::quiet_NaN();
  return result;
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
  // The loss of each window, from whichever rank; adding the zeros of the others rounds nothing.
  const at::Tensor sums =
      at::zeros({num_windows}, at::TensorOptions(model.execution().device).dtype(at::kDouble));
  for (int64_t first = communicator.rank() * batch_size; first < num_windows;
       first += communicator.world_size() * batch_size) {
    const int64_t rows = std::min(batch_size, num_windows - first);
    first_tokens.clear();
    for (int64_t row = 0; row < rows; ++row) {
      first_tokens.push_back(data::sampled_window(first + row, num_windows, available) * length);
    }
    const TensorBatch& batch = reader.read(first_tokens);
    const at::Tensor losses = model.token_losses(batch.inputs, batch.targets).cpu();
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
  return mean_of_windows(sums.cpu(), length);
}

}  // namespace ssgpt::train
