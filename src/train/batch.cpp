#include "train/batch.h"

#include "core/check.h"

#include <ATen/ops/empty.h>

namespace ssgpt::train {

void fill_batch(std::span<const int32_t> tokens, int64_t rows, int64_t columns, TensorBatch& batch) {
  SSGPT_CHECK(rows > 0 && columns > 1 && static_cast<int64_t>(tokens.size()) == rows * columns,
              "{} tokens are not {} rows of {}", tokens.size(), rows, columns);
  const int64_t length = columns - 1;
  if (!batch.inputs.defined() || batch.inputs.size(0) != rows || batch.inputs.size(1) != length) {
    batch.inputs = at::empty({rows, length}, at::kLong);
    batch.targets = at::empty({rows, length}, at::kLong);
  }
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

}  // namespace ssgpt::train
