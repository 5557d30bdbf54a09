// All memory of a forward and backward pass, allocated once per batch shape: fresh memory for every output
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
  // If set, the activations of all blocks are kept, and there is scratch for gradients. Otherwise one block
  // is held at a time, and members that only a backward needs are undefined.
  bool with_backward = false;
  int64_t rows() const { return batch * time; }
  bool operator==(const BufferShape&) const = default;
};

struct Buffers {
  BufferShape shape;
  std::vector<BlockActivations> blocks;  // one, or one per block with a backward
  NormActivations final_norm;
  Scratch scratch;
  at::Tensor logits;      // data (logits_chunk_rows, padded V)
  at::Tensor losses;      // fp32 (M)
  at::Tensor d_residual;  // data (M, D); only with a backward
};

// `dtype`: compute dtype. sequence_length: number of positions of the row scale.
Buffers allocate_buffers(const BufferShape& shape, const config::ModelConfig& config, int64_t sequence_length,
                         at::Device device, at::ScalarType dtype);

}  // namespace ssgpt::model
