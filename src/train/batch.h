// Integers from the data path as the tensors that a model takes.
#pragma once

#include "data/loader.h"

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

namespace ssgpt::train {

// Inputs and targets of rows x (T + 1) tokens: inputs are columns [0, T), targets columns [1, T + 1).
struct TensorBatch {
  at::Tensor inputs;    // int64 (B, T)
  at::Tensor targets;   // int64 (B, T); negative: not predicted
  at::Tensor num_keys;  // int32 (B, T), of packed examples; undefined: see GPT::forward_backward
};

// Fills `batch` (allocated anew only where the shape changes) from row-major tokens of `rows` x `columns`.
void fill_batch(std::span<const int32_t> tokens, int64_t rows, int64_t columns, TensorBatch& batch);

// The same from a loader's micro-batch, of text or of packed examples.
void fill_batch(const data::MicroBatch& micro_batch, TensorBatch& batch);

}  // namespace ssgpt::train
