// Token batches from the data path as tensors for the model.
#pragma once

#include "data/loader.h"

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

namespace ssgpt::train {

// Inputs and targets from rows x (T + 1) tokens: inputs are columns [0, T), targets columns [1, T + 1).
struct TensorBatch {
  at::Tensor inputs;    // int64 (B, T)
  at::Tensor targets;   // int64 (B, T); negative: not predicted
  at::Tensor num_keys;  // int32 (B, T), for packed examples; undefined: see GPT::forward_backward
};

// Fills `batch` from row-major tokens of `rows` x `columns`; reallocates it only if the shape changes.
void fill_batch(std::span<const int32_t> tokens, int64_t rows, int64_t columns, TensorBatch& batch);

// The same from a loader's micro-batch, whether text or packed examples.
void fill_batch(const data::MicroBatch& micro_batch, TensorBatch& batch);

}  // namespace ssgpt::train
