// What a model costs: parameters, floating-point operations, memory. Pure arithmetic on the config.
#pragma once

#include "config/config.h"

#include <cstdint>
#include <optional>

namespace ssgpt::model {

int64_t count_parameters(const config::ModelConfig& config, int64_t sequence_length);

// Floating-point operations of forward and backward for one token at this sequence length: 6 for each
// parameter of the matrices, the input embedding excepted, and 6 T D a layer for causal attention (half of
// the T x T products; the backward twice the forward).
double flops_per_token(const config::ModelConfig& config, int64_t sequence_length);

// What training allocates, in bytes. On a CPU the program itself comes on top; on a GPU snapshot and swap are
// in the memory of the host, and the context of CUDA and NCCL's buffers come on top of the rest.
struct MemoryEstimate {
  int64_t parameters = 0;   // fp32 master, gradient, two moments, bf16 copy
  int64_t activations = 0;  // of one micro-batch, with scratch, and its tokens on the way from the disk
  int64_t snapshot = 0;     // the copy that a checkpoint is written from: weights and moments
  int64_t swap = 0;         // at a scheduled swap of the attention, a second such copy
  int64_t total() const { return parameters + activations + snapshot + swap; }
};

// Of rank 0 of `num_ranks`, which writes the weights; the others hold less for a checkpoint. For train.device
// cuda of a GPU, else of a CPU. `spans`: parts of a micro-batch that do not see each other, documents or
// examples, at the most; none: two a window are assumed where a config has such parts.
MemoryEstimate estimate_memory(const config::Config& config, bool bf16, int64_t num_ranks,
                               std::optional<int64_t> spans = {});

}  // namespace ssgpt::model
