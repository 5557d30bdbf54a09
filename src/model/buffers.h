// All memory of a forward and backward pass, allocated once for a batch shape: fresh memory for every output
// would cost page faults at each step.
#pragma once

#include "config/config.h"
#include "model/block.h"

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct BufferShape {
  int64_t batch = 0;
  int64_t time = 0;
  // The activations of all blocks are kept for it, and there is scratch for its gradients. Without, one block
  // is held at a time, and what only a backward needs is undefined.
  bool with_backward = false;
  int64_t rows() const { return batch * time; }
  bool operator==(const BufferShape&) const = default;
};

struct Buffers {
  BufferShape shape;
  std::vector<BlockActivations> blocks;  // one, or for a backward one for each block
  NormActivations final_norm;
  Scratch scratch;
  at::Tensor logits;      // data (logits_chunk_rows, V with padding)
  at::Tensor losses;      // fp32 (M)
  at::Tensor d_residual;  // data (M, D); for a backward
};

// `dtype` is the compute dtype; sequence_length counts the positions of the row scale.
Buffers allocate_buffers(const BufferShape& shape, const config::ModelConfig& config, int64_t sequence_length,
                         at::Device device, at::ScalarType dtype);

}  // namespace ssgpt::model
