#include "train/batch.h"

#include "core/check.h"

#include <algorithm>

#include <ATen/ops/empty.h>

namespace ssgpt::train {
namespace {

void make_room(int64_t rows, int64_t length, TensorBatch& batch) {
  if (batch.inputs.defined() && batch.inputs.size(0) == rows && batch.inputs.size(1) == length) return;
  batch.inputs = at::empty({rows, length}, at::kLong);
  batch.targets = at::empty({rows, length}, at::kLong);
}

}  // namespace

void fill_batch(std::span<const int32_t> tokens, int64_t rows, int64_t columns, TensorBatch& batch) {
  SSGPT_CHECK(rows > 0 && columns > 1 && static_cast<int64_t>(tokens.size()) == rows * columns,
              "{} tokens are not {} rows of {}", tokens.size(), rows, columns);
  const int64_t length = columns - 1;
  make_room(rows, length, batch);
  batch.num_keys.reset();
  auto* inputs = batch.inputs.mutable_data_ptr<int64_t>();
  auto* targets = batch.targets.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t* source = tokens.data() + row * columns;
    for (int64_t t = 0; t < length; ++t) {
      inputs[row * length + t] = source[t];
      targets[row * length + t] = source[t + 1];
    }
  }
}

void fill_batch(const data::MicroBatch& micro_batch, TensorBatch& batch) {
  const int64_t rows = micro_batch.rows;
  const int64_t length = micro_batch.columns;
  if (micro_batch.targets.empty()) return fill_batch(micro_batch.tokens, rows, length, batch);
  const auto size = static_cast<size_t>(rows * length);
  SSGPT_CHECK(rows > 0 && length > 0 && micro_batch.tokens.size() == size &&
                  micro_batch.targets.size() == size && micro_batch.num_keys.size() == size,
              "{} tokens are not {} rows of {}", micro_batch.tokens.size(), rows, length);
  make_room(rows, length, batch);
  if (!batch.num_keys.defined() || batch.num_keys.sizes() != batch.inputs.sizes()) {
    batch.num_keys = at::empty({rows, length}, at::kInt);
  }
  std::copy(micro_batch.tokens.begin(), micro_batch.tokens.end(), batch.inputs.mutable_data_ptr<int64_t>());
  std::copy(micro_batch.targets.begin(), micro_batch.targets.end(),
            batch.targets.mutable_data_ptr<int64_t>());
  std::copy(micro_batch.num_keys.begin(), micro_batch.num_keys.end(),
            batch.num_keys.mutable_data_ptr<int32_t>());
}

}  // namespace ssgpt::train
