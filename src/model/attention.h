// Causal self-attention with RoPE and the row scale. Shapes: M = B T rows, D hidden, N heads, H head dim.
#pragma once

#include "kernels/ops.h"
#include "model/linear.h"
#include "model/rope.h"

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct AttentionWeights {
  at::Tensor qkv;                // data (3D, D): rows of q, then k, then v
  at::Tensor out;                // data (D, D)
  kernels::RowScale row_scale;   // fp32
  kernels::QkNorm qk_norm = {};  // gains and epsilon
  bool is_rotated = true;        // false: a layer without RoPE
};

// Members of the row scale and the norms are undefined if there is no such parameter.
struct AttentionGradients {
  at::Tensor qkv, out;                  // fp32, += or = as the backward's mode says
  at::Tensor scale, bias, position;     // fp32 (N), (N), (sequence_length), +=
  at::Tensor q_norm = {}, k_norm = {};  // fp32 (H), +=
};

// Shared by all layers of a batch.
struct AttentionContext {
  int64_t batch = 0;
  int64_t time = 0;
  int64_t num_heads = 0;
  kernels::Rotation rotation;          // for layers with RoPE; `time` rows
  kernels::Rotation no_rotation = {};  // for layers without; likewise; read only if there are any
  kernels::Spans spans;
  kernels::AttentionBackend backend = kernels::AttentionBackend::kFlash;  // on a GPU
};

// State for the backward.
struct AttentionActivations {
  at::Tensor qkv;       // data (M, 3D), rotated and scaled; the backward leaves its gradient here
  at::Tensor raw = {};  // data (B, T, 2, N, H), q and k before their norm; undefined without norm or backward
  // On a GPU allocated by the kernel and released after the backward.
  kernels::AttentionResult result;
};

struct AttentionScratch {
  at::Tensor workspace;     // fp32 (kernels::attention_workspace)
  at::Tensor d_heads;       // data (M, D)
  at::Tensor d_qkv;         // data (M, 3D): gradients of the rotated and scaled q, k, v; undefined on a GPU
  at::Tensor d_row_scale;   // fp32 (B, T, N); undefined if the row scale is the identity
  at::Tensor row_scale;     // fp32 (kernels::row_scale_scratch); undefined if the row scale is the identity
  at::Tensor weight;        // see linear_backward_weight
  at::Tensor qk_norm = {};  // fp32 (2, kernels::num_row_chunks(M), H); undefined without query/key norm
};

// x: data (M, D).  out: data (M, D), =.
void attention_forward(const at::Tensor& x, const AttentionWeights& weights, const AttentionContext& context,
                       AttentionActivations& activations, const AttentionScratch& scratch,
                       const at::Tensor& out);

// d_out, x: data (M, D).  d_x: data (M, D), =; may be scratch.d_heads.
void attention_backward(const at::Tensor& d_out, const at::Tensor& x, const AttentionWeights& weights,
                        const AttentionContext& context, AttentionActivations& activations,
                        const AttentionGradients& gradients, GradientMode mode,
                        const AttentionScratch& scratch, const at::Tensor& d_x);

}  // namespace ssgpt::model
