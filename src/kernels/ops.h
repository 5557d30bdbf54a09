// Fused operations of the model and the optimizer: one forward and one backward function each. Knows nothing
// of layers.
//
// Contract of all functions here: tensors are dense (row-major, contiguous) unless marked "strided", and all
// are on one device: the CPU, or the current GPU, where the work is queued on the current stream without
// waiting. "data" is the compute dtype, fp32 or bf16, the same for all data tensors of a call; arithmetic
// inside is always fp32. The caller allocates and owns the outputs; nothing is allocated here except where a
// function returns a tensor or a comment says so. "=" overwrites an output, "+=" accumulates into it. The
// order of a sum does not depend on the number of threads or, on a GPU, on how blocks are scheduled.
// Non-finite values propagate as in IEEE arithmetic. A tensor that breaks the contract is a bug in the
// program and throws core::InternalError. Values of integer tensors are checked on a CPU where a comment says
// "checked"; on a GPU, where reading them would mean waiting, an invalid value turns the results that use it
// into NaN. On a GPU data tensors are 16-byte aligned.
//
// Shapes: M rows (B T tokens), B batch, T time, D hidden, N heads, H head dim, F feed-forward, V vocabulary.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::kernels {

// --- RMSNorm (Zhang and Sennrich, arXiv 1910.07467) --------------------------------------------------------

// out = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps) along a row.
//   x: data (M, D).  weight: data (D).  out: data (M, D), =.  rstd: fp32 (M), =, for the backward.
void rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
                      const at::Tensor& rstd);

// sum = residual + branch, rounded to the data dtype; then the RMSNorm of that sum, as above.
//   residual, branch: data (M, D).  sum: data (M, D), =; may be `residual` itself.
void add_rms_norm_forward(const at::Tensor& residual, const at::Tensor& branch, const at::Tensor& weight,
                          double eps, const at::Tensor& sum, const at::Tensor& out, const at::Tensor& rstd);

// d_x = gradient through the norm; with `accumulate`, += (d_x then already holds the residual path's
// gradient). The weight gradient is left as one partial sum per chunk of rows, for add_row_sums.
//   d_out, x: data (M, D).  weight: data (D).  rstd: fp32 (M).  d_x: data (M, D).
//   weight_sums: fp32 (num_row_chunks(M), D), =.
void rms_norm_backward(const at::Tensor& d_out, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& rstd, bool accumulate, const at::Tensor& d_x,
                       const at::Tensor& weight_sums);

// Number of chunks for M rows: rows are summed in chunks of fixed length, whose sums are then added in order.
int64_t num_row_chunks(int64_t rows);

struct RowSums {
  at::Tensor of_chunks;  // fp32 (chunks, D)
  at::Tensor total;      // fp32 (D), +=
};
// Adds up the chunks of several sums of the same shape at once; on a GPU hardly slower than a single sum.
void add_row_sums(const std::vector<RowSums>& sums);

// --- RoPE, query/key norm and the row scale of attention ---------------------------------------------------

// Rotation of q and k by position. The first R dimensions of each head are rotated, in Hugging Face's
// convention (rotate_half):
//   out[i] = x[i] cos[i] - x[i + R/2] sin[i];  out[i + R/2] = x[i + R/2] cos[i] + x[i] sin[i],  i < R/2
// and the remaining H - R are multiplied by `rest`. R is even; H rotates whole heads, 0 none.
struct Rotation {
  at::Tensor cos, sin;  // fp32 (T, R/2), row t for time t
  double rest = 1.0;    // the factor that cos and sin include, if they do; applied to unrotated dimensions

  Rotation rows(int64_t begin, int64_t count) const {  // views: times [begin, begin + count)
    return {cos.narrow(0, begin, count), sin.narrow(0, begin, count), rest};
  }
};

// RMSNorm of each head's query and key over its H dimensions, before rotation, with one gain for queries and
// one for keys, shared by all heads (as in Qwen 3, arXiv 2505.09388):
//   out = x * rstd * gain with rstd = 1 / sqrt(mean(x^2) + eps)
// Norm, rotation and row scale are one fp32 computation: the result is rounded to the data dtype once, not
// after each. On a GPU H is at most 512.
struct QkNorm {
  at::Tensor q_gain, k_gain;  // data (H); undefined: no norm, and the other members are not read
  double eps = 0.0;
  at::Tensor raw;  // data (B, T, 2, N, H), = in the forward: q and k before the norm, read by the backward;
                   // undefined if there is no backward
  bool identity() const { return !q_gain.defined(); }
};

// All undefined if there is no norm.
struct QkNormGradients {
  at::Tensor q_gain, k_gain;  // fp32 (H), +=, summed over rows and heads
  at::Tensor scratch;         // fp32 (2, num_row_chunks(B T), H), contents lost
};

// Factor on the query of head h that attends to n keys: c = scale[h] * position[n - 1] + bias[h]
// (Scalable-Softmax, arXiv 2501.19399, applied to the query because it is constant along a row of scores).
// |c| below 1e-20 is raised to 1e-20: scores are zero either way, and the gradient of c can still be
// recovered from the scaled query.
struct RowScale {
  // fp32 (at least max n), log n or learned p_n; undefined: c is 1 and the other members are not read
  at::Tensor position;
  at::Tensor scale;  // fp32 (N), s; undefined: 1
  at::Tensor bias;   // fp32 (N), b; undefined: 0
  bool identity() const { return !position.defined(); }
};

// Normalises q and k, rotates them, then multiplies q by the row scale, in place. v is untouched.
//   qkv: data (B, T, 3, N, H), H even.  num_keys: int32 (B, T), n >= 1 of each row.
void rope_forward(const at::Tensor& qkv, const Rotation& rotation, const at::Tensor& num_keys,
                  const RowScale& row_scale, const QkNorm& norm);

// Backward of rope_forward, from the gradients that attention returns: d_q, d_k, d_v: data (B, N, T, H),
// strided, last stride 1.
//   qkv: data (B, T, 3, N, H), as rope_forward left it; overwritten with the gradient of rope_forward's
//   input.
//   d_row_scale: fp32 (B, T, N), =: gradient of c per row and head, <d_q, q'> / c, where the scaled query q'
//   is read if there is no norm and otherwise recomputed from `raw`; exactly 0 where n = 1, since attention
//   to a single key does not depend on the query. Undefined if the row scale is the identity.
//   norm: as in the forward, with `raw` as the forward left it.
void rope_backward(const at::Tensor& d_q, const at::Tensor& d_k, const at::Tensor& d_v,
                   const Rotation& rotation, const at::Tensor& num_keys, const RowScale& row_scale,
                   const QkNorm& norm, const at::Tensor& qkv, const at::Tensor& d_row_scale,
                   const QkNormGradients& norm_gradients);

// Reduces the gradient of c to the gradients of its parameters; an undefined output is skipped.
//   d_row_scale: fp32 (B, T, N).  d_scale, d_bias: fp32 (N), +=.  d_position: fp32 (as row_scale.position),
//   +=. scratch: fp32 of at least row_scale_scratch(device, N, elements of row_scale.position), contents
//   lost.
void row_scale_backward(const at::Tensor& d_row_scale, const at::Tensor& num_keys, const RowScale& row_scale,
                        const at::Tensor& d_scale, const at::Tensor& d_bias, const at::Tensor& d_position,
                        const at::Tensor& scratch);
int64_t row_scale_scratch(at::Device device, int64_t heads, int64_t positions);

// --- Matmul ------------------------------------------------------------------------------------------------

// GEMM: out = a b, or out += a b where `accumulate`, summed in fp32.
//   a: data (M, K).  b: data (K, N).  out: data or fp32 (M, N).  a and b: each contiguous or the transpose of
//   a contiguous matrix.
// On a CPU: fp32 only; the order of each element's sum does not depend on the number of threads. Nor does it
// on the other rows and columns, but for a deep GEMM of a transposed `a` and a `b` that is not, such as a
// weight gradient, whose sum is halved if `out` is small. On a GPU, where it allocates: cuBLASLt, with the
// heuristic's first algorithm for the shape unless another was selected (cuda/product.h).
void matrix_product(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out);

// --- Causal attention --------------------------------------------------------------------------------------

// Keys that each query attends to: its own and those before it, back to the start of its span. A span is a
// whole window or, with document masking, one document within it.
struct Spans {
  at::Tensor num_keys;  // int32 (B, T): number of keys per query, 1 + its offset from the start of its span;
                        // in [1, t + 1]
  // With document masking on a GPU, the cu_seqlens of varlen kernels: int32 (spans + 1), the first row of
  // each span among all B T rows, then B T. Spans may be empty. Otherwise undefined.
  at::Tensor starts;
  int64_t longest = 0;  // max_seqlen: rows of the longest span, or an upper bound; with `starts`
};

// Library whose kernels compute attention on a GPU; the CPU has its own kernel.
enum class AttentionBackend {
  kCudnn,      // bf16; no varlen: a span is a whole window
  kFlash,      // bf16
  kEfficient,  // fp32 and bf16
};

// State that the backward needs from the forward.
struct AttentionResult {
  at::Tensor out;        // data (B, T, N, H)
  at::Tensor logsumexp;  // fp32, of the scaled scores: (B, N, T) on a CPU, in the kernel's layout on a GPU
  std::vector<at::Tensor> extra;  // whatever else the GPU's kernel needs in the backward
};

// out = softmax(q k^T / sqrt(H)) v over the keys of each query's span.
//   qkv: data (B, T, 3, N, H).  spans.num_keys is checked.  workspace: fp32 of at least
//   attention_workspace(device, T, H) elements, contents lost.  result: on a CPU the caller provides its
//   tensors, =; on a GPU they are allocated.
// In blocks, after Dao, "FlashAttention-2" (arXiv 2307.08691); no row of scores is stored for the backward.
void attention_forward(const at::Tensor& qkv, const Spans& spans, AttentionBackend backend,
                       const at::Tensor& workspace, AttentionResult& result);

struct AttentionInputGradients {
  at::Tensor d_q, d_k, d_v;  // data (B, N, T, H), strided, last stride 1
};

//   d_out: data (B, T, N, H).  d_qkv: data (B, T, 3, N, H), =, whose views are returned; undefined on a GPU,
//   where the gradients are allocated.
AttentionInputGradients attention_backward(const at::Tensor& d_out, const at::Tensor& qkv,
                                           const AttentionResult& result, const Spans& spans,
                                           AttentionBackend backend, const at::Tensor& workspace,
                                           const at::Tensor& d_qkv);

// Number of workspace elements for the current number of threads; 0 on a GPU.
int64_t attention_workspace(at::Device device, int64_t time, int64_t head_dim);

// --- Decoding: few new tokens, many cached ones ------------------------------------------------------------

// Appends the keys and values of T new tokens per sequence to a KV cache and attends to it: query t of
// sequence b, at position + t, attends to the last num_keys[b, t] keys up to its own. The result for a
// sequence does not depend on the rest of the batch.
//   qkv: data (B, T, 3, N, H), as rope_forward left it.  num_keys: int32 (B, T), 1 to position + t + 1
//   (checked).  keys, values: data (B, N, C, H), positions [0, position) filled; [position, position + T) are
//   =; position + T <= C.  scratch: fp32 (B, N, C + H), contents lost.  out: data (B, T, N, H), =.
void cached_attention_forward(const at::Tensor& qkv, const at::Tensor& num_keys, int64_t position,
                              const at::Tensor& keys, const at::Tensor& values, const at::Tensor& scratch,
                              const at::Tensor& out);

// Skinny GEMM, out = x weight^T for few rows, bound by reading the weight. On a CPU the bits of a row depend
// neither on the other rows nor on the number of threads, which a BLAS does not guarantee; on a GPU it is
// matrix_product.
//   x: data (M, K).  weight: data (N, K).  out: data or fp32 (M, N), =.
void thin_linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out);

// --- SwiGLU (Shazeer, arXiv 2002.05202) --------------------------------------------------------------------

// out = silu(gate) * up.   gate_up: data (M, 2F), gate in columns [0, F).  out: data (M, F), =.
void swiglu_forward(const at::Tensor& gate_up, const at::Tensor& out);

// d_out: data (M, F).  d_gate_up: data (M, 2F), =; may be gate_up itself.
void swiglu_backward(const at::Tensor& d_out, const at::Tensor& gate_up, const at::Tensor& d_gate_up);

// --- Softmax cross-entropy ---------------------------------------------------------------------------------

// losses[r] = log(sum over v < vocab_size of exp(logits[r, v])) - logits[r, targets[r]] in nats; 0 where the
// target is negative.
//   logits: data (R, C), C >= vocab_size; the columns beyond are padding and never predicted.
//   targets: int64 (R), below vocab_size (checked).  losses: fp32 (R), =.
void cross_entropy_forward(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab_size,
                           const at::Tensor& losses);

// Likewise, and overwrites the logits with the gradient of the summed loss: softmax - one_hot(target); 0 in
// rows with a negative target and in padding columns.
void cross_entropy_forward_backward(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab_size,
                                    const at::Tensor& losses);

// --- Embedding ---------------------------------------------------------------------------------------------

// out[m] = table[tokens[m]].
//   tokens: int64 (M), in [0, V) (checked).  table: data (V, D).  out: data (M, D), =.
void embedding_forward(const at::Tensor& tokens, const at::Tensor& table, const at::Tensor& out);

// d_table[tokens[m]] += d_out[m], in an order that depends on the tokens alone (on a CPU, that of m).
//   d_out: data (M, D).  d_table: fp32 (V, D).
// On a GPU it allocates, because the tokens are sorted first, and skips invalid tokens.
void embedding_backward(const at::Tensor& tokens, const at::Tensor& d_out, const at::Tensor& d_table);

// --- Operations on flat tensors ----------------------------------------------------------------------------

// Instruction set selected for the CPU loops on this machine. Some sums round differently under another one.
std::string_view instruction_set();

// Sum, as one fp64 element on flat's device: over fixed chunks, in fp64, combined in order.
//   flat: fp32 (any size).
at::Tensor flat_sum(const at::Tensor& flat);

// Sum of squares, as one fp64 element on flat's device: over fixed chunks, in fp64, combined in order.
//   flat: fp32 (any size).
at::Tensor squared_norm(const at::Tensor& flat);

// Elements [begin, begin + size) of the flat tensors; their moments start at `moment` in separate tensors.
struct AdamWSlice {
  int64_t begin = 0, moment = 0, size = 0;
  double lr = 0.0, weight_decay = 0.0;
};

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
};

// One AdamW update (Loshchilov and Hutter, arXiv 1711.05101) of these slices, as torch.optim.AdamW:
//   g = grad * grad_factor;  m = m + (1 - beta1) (g - m);  v = beta2 v + (1 - beta2) g^2
//   w = w (1 - lr weight_decay) - lr / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
//   master, grad: fp32 of equal size; grad is only read.  exp_avg, exp_avg_sq: fp32 of equal size.
//   bf16_copy: bf16 of the master's size, =, the new master rounded; undefined: none.  slices: disjoint,
//   within the tensors.  step: 1 for the first.  grad_factor: fp32, one element; if it is not finite, nothing
//   changes.
void adamw_update(const at::Tensor& master, const at::Tensor& grad, const at::Tensor& exp_avg,
                  const at::Tensor& exp_avg_sq, const at::Tensor& bf16_copy,
                  const std::vector<AdamWSlice>& slices, const AdamWOptions& options, int64_t step,
                  const at::Tensor& grad_factor);

}  // namespace ssgpt::kernels
