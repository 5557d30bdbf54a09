// Cost of a model: parameters, floating-point operations, memory. Pure arithmetic on the config.
#pragma once

#include "config/config.h"

#include <cstdint>
#include <optional>

namespace ssgpt::model {

int64_t count_parameters(const config::ModelConfig& config, int64_t sequence_length);

// Floating-point operations of forward and backward per token at this sequence length: 6 per matrix
// parameter, excluding the input embedding, and 6 T D per layer for causal attention (half of the T x T
// scores; the backward costs twice the forward).
double flops_per_token(const config::ModelConfig& config, int64_t sequence_length);

// Bytes that training allocates. On a CPU the program itself comes on top; on a GPU snapshot and swap are in
// host memory, and the CUDA context and NCCL's buffers come on top of the rest.
struct MemoryEstimate {
  int64_t parameters = 0;   // fp32 master, gradient, two moments, bf16 copy
  int64_t activations = 0;  // of one micro-batch, including scratch and its tokens on the way from disk
  int64_t snapshot = 0;     // copy of weights and moments that a checkpoint is written from
  int64_t swap = 0;         // a second such copy, at a scheduled swap of the attention
  int64_t total() const { return parameters + activations + snapshot + swap; }
};

// Estimate for rank 0 of `num_ranks`, which writes the weights; other ranks hold less for a checkpoint. For a
// GPU if train.device is cuda, otherwise for a CPU. `spans`: upper bound on the documents or examples of a
// micro-batch that do not attend to each other; nullopt assumes two per window if the config has such spans.
MemoryEstimate estimate_memory(const config::Config& config, bool bf16, int64_t num_ranks,
                               std::optional<int64_t> spans = {});

}  // namespace ssgpt::model
