// What attention does with the keys that each query sees: how far it spreads, its largest weight, what it
// gives to the first key, and what the scores were multiplied by. For people who look at a model; training
// knows nothing of it. Shapes: B batch, T time, N heads, H head dim.
#pragma once

#include "kernels/ops.h"
#include "model/rope.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Of each query of a batch, on the device of the model. a_j is the weight that its softmax gives to the j-th
// of the n keys that it attends to. Where n is 1 the entropy is 0, and both weights are 1.
struct AttentionStatistics {
  at::Tensor entropy;   // fp32 (B, N, T): - sum over j of a_j log a_j, in nats: 0 to log n
  at::Tensor largest;   // fp32 (B, N, T): the largest a_j, 1 / n to 1
  at::Tensor first;     // fp32 (B, N, T): a_1, of the first token of the window, or of its document within it
  at::Tensor factor;    // fp32 (B, N, T): see score_factors
  at::Tensor num_keys;  // int32 (B, T): n
};

// Fills in entropy, largest and first, from the scores q k^T / sqrt(H) of as many queries at a time as
// `block_queries` says, or, where that is 0, as make some four million scores: of no window are all held.
// Computed in fp32; the block changes the order of sums alone. Values that are not finite go through.
//   qkv: data (B, T, 3, N, H), as kernels::rope_forward leaves it.  num_keys: int32 (B, T), in [1, t + 1].
void fill_attention_statistics(const at::Tensor& qkv, const at::Tensor& num_keys, int64_t block_queries,
                               AttentionStatistics& statistics);

// What the model multiplies q k^T / sqrt(H) by where a query attends to n keys, of q and k as they are
// rotated (behind their norm, where they have one): the row scale c(n) of the head, times what an evaluation
// made of the rotation (RopeChange). fp32 (N, count): what kernels::rope_forward makes of the score of
// q = k = 1 at time 0, where no pair turns, over H. Where the dimensions are not multiplied by the same, as
// with YaRN where a part of them is rotated, that is their mean.
//   rotation: of one row or more.  num_keys: int32 (count), each n, on the device of `rotation`.
at::Tensor score_factors(const kernels::RowScale& row_scale, const kernels::Rotation& rotation,
                         int64_t num_heads, int64_t head_dim, const at::Tensor& num_keys);

}  // namespace ssgpt::model
