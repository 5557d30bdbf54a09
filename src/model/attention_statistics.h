// Statistics of what attention does with the keys that each query attends to: entropy, largest weight, weight
// of the first key, and the factor on the scores. For inspecting a model; training does not use it. Shapes: B
// batch, T time, N heads, H head dim.
#pragma once

#include "kernels/ops.h"
#include "model/rope.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Statistics per query of a batch, on the model's device. a_j is the softmax weight of the j-th of the n keys
// that the query attends to. If n is 1 the entropy is 0 and both weights are 1.
struct AttentionStatistics {
  at::Tensor entropy;  // fp32 (B, N, T): - sum over j of a_j log a_j, in nats: 0 to log n
  at::Tensor largest;  // fp32 (B, N, T): the largest a_j, 1 / n to 1
  // fp32 (B, N, T): a_1, the weight of the first token of the window or, if masked, of its document.
  at::Tensor first;
  at::Tensor factor;    // fp32 (B, N, T): see score_factors
  at::Tensor num_keys;  // int32 (B, T): n
};

// Fills in entropy, largest and first from the scores q k^T / sqrt(H) of `block_queries` queries at a time
// or, if that is 0, of as many as make about four million scores: a window's full score matrix is never
// stored. Computed in fp32; the block size only changes the order of sums. Non-finite values propagate.
//   qkv: data (B, T, 3, N, H), as kernels::rope_forward leaves it.  num_keys: int32 (B, T), in [1, t + 1].
void fill_attention_statistics(const at::Tensor& qkv, const at::Tensor& num_keys, int64_t block_queries,
                               AttentionStatistics& statistics);

// Factor on q k^T / sqrt(H) for a query that attends to n keys, where q and k are those that enter the
// rotation (after their norm, if any): the row scale c(n) of the head times the effect of an evaluation's
// RopeChange. fp32 (N, count): the score that kernels::rope_forward gives q = k = 1 at time 0, where no pair
// is rotated, over H. If the dimensions get different factors, as with YaRN and partial rotation, it is their
// mean.
//   rotation: at least one row.  num_keys: int32 (count), each n, on the device of `rotation`.
at::Tensor score_factors(const kernels::RowScale& row_scale, const kernels::Rotation& rotation,
                         int64_t num_heads, int64_t head_dim, const at::Tensor& num_keys);

}  // namespace ssgpt::model
