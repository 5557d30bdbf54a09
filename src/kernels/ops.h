// The fused operations of the model and the optimizer: a forward and a backward function for each. They know
// no layers.
//
// Contract of all functions here: tensors are dense (row-major, contiguous) unless a comment says "strided",
// and all on one device: the CPU, or the current GPU, where the work is queued on the current stream and
// nothing waits. "data" is the compute dtype, fp32 or bf16, the same for all data tensors of a call;
// arithmetic inside is fp32 whatever it is. Outputs belong to the caller, who allocates them; nothing is
// allocated here but where a function returns a tensor or a comment says so. "=" overwrites an output, "+="
// adds to it. Sums have an order that does not depend on the number of threads, and on a GPU not on how
// blocks are scheduled. Values that are not finite go through, as IEEE arithmetic has them. A tensor that
// breaks the contract is a defect of the program: core::InternalError. Values in tensors of integers are
// checked where a comment says "checked" on a CPU; on a GPU, where looking at them would be a wait, what they
// are used for becomes NaN. On a GPU data tensors begin at multiples of 16 bytes.
//
// Shapes: M rows (B T tokens), B batch, T time, D hidden, N heads, H head dim, F feed-forward, V vocabulary.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::kernels {

// --- RMSNorm (Zhang and Sennrich, arXiv 1910.07467)
// ---------------------------------------------------------------

// out = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps) along a row.
//   x: data (M, D).  weight: data (D).  out: data (M, D), =.  rstd: fp32 (M), =, for the backward.
void rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
                      const at::Tensor& rstd);

// sum = residual + branch, rounded to the data dtype; then the norm of that sum, as above.
//   residual, branch: data (M, D).  sum: data (M, D), =; may be `residual` itself.
void add_rms_norm_forward(const at::Tensor& residual, const at::Tensor& branch, const at::Tensor& weight,
                          double eps, const at::Tensor& sum, const at::Tensor& out, const at::Tensor& rstd);

// d_x = the gradient through the norm, or += where `accumulate` (it then arrives with the residual path's).
// The gradient of the weight is left as its sums over the rows of each chunk, for add_row_sums.
//   d_out, x: data (M, D).  weight: data (D).  rstd: fp32 (M).  d_x: data (M, D).
//   weight_sums: fp32 (num_row_chunks(M), D), =.
void rms_norm_backward(const at::Tensor& d_out, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& rstd, bool accumulate, const at::Tensor& d_x,
                       const at::Tensor& weight_sums);

// Rows are summed in chunks of a fixed length, whose sums are then added in order: this many chunks for M
// rows.
int64_t num_row_chunks(int64_t rows);

struct RowSums {
  at::Tensor of_chunks;  // fp32 (chunks, D)
  at::Tensor total;      // fp32 (D), +=
};
// Adds the chunks of several sums of one shape, which takes a GPU little longer than those of one.
void add_row_sums(const std::vector<RowSums>& sums);

// --- Rotary positions, the norm of queries and keys, and the row scale of attention
// ---------------------------------------------------------------

// How q and k are turned by their position. Of each head the first R dimensions are rotated, in Hugging
// Face's convention (rotate_half):
//   out[i] = x[i] cos[i] - x[i + R/2] sin[i];  out[i + R/2] = x[i + R/2] cos[i] + x[i] sin[i],  i < R/2
// and the other H - R multiplied by `rest`. R is even, H for a rotation of whole heads, 0 for none.
struct Rotation {
  at::Tensor cos, sin;  // fp32 (T, R/2), row t for time t
  double rest = 1.0;    // where cos and sin are those of angles times a factor, the same factor

  Rotation rows(int64_t begin, int64_t count) const {  // views: times [begin, begin + count)
    return {cos.narrow(0, begin, count), sin.narrow(0, begin, count), rest};
  }
};

// RMSNorm of each head's query and key over its H dimensions, before they are rotated, with a gain for the
// queries and one for the keys that all heads share (as in Qwen 3, arXiv 2505.09388):
//   out = x * rstd * gain with rstd = 1 / sqrt(mean(x^2) + eps)
// Norm, rotation and row scale are one computation in fp32: what comes out is rounded to the data dtype once,
// not after each. On a GPU heads have at most 512 dimensions.
struct QkNorm {
  at::Tensor q_gain, k_gain;  // data (H); undefined: no norm, and the rest is not read
  double eps = 0.0;
  at::Tensor raw;  // data (B, T, 2, N, H), = in the forward: q and k before the norm, which the backward
                   // reads; undefined where there is no backward
  bool identity() const { return !q_gain.defined(); }
};

// Undefined where there is no norm.
struct QkNormGradients {
  at::Tensor q_gain, k_gain;  // fp32 (H), +=, summed over rows and heads
  at::Tensor scratch;         // fp32 (2, num_row_chunks(B T), H), contents lost
};

// What multiplies the query of head h where it attends to n keys: c = scale[h] * position[n - 1] + bias[h]
// (Scalable-Softmax, arXiv 2501.19399, applied to the query because it is constant along a row of scores).
// A |c| below 1e-20 is taken as 1e-20: scores are zero either way, and the gradient of c can still be told
// from the scaled query.
struct RowScale {
  at::Tensor
      position;  // fp32 (at least max n), log n or learned p_n; undefined: c is 1 and the rest is not read
  at::Tensor scale;  // fp32 (N), s; undefined: 1
  at::Tensor bias;   // fp32 (N), b; undefined: 0
  bool identity() const { return !position.defined(); }
};

// Normalises q and k, rotates them, then multiplies q by the row scale, in place. v is untouched.
//   qkv: data (B, T, 3, N, H), H even.  num_keys: int32 (B, T), n >= 1 of each row.
void rope_forward(const at::Tensor& qkv, const Rotation& rotation, const at::Tensor& num_keys,
                  const RowScale& row_scale, const QkNorm& norm);

// The backward, from the gradients that attention gives: d_q, d_k, d_v: data (B, N, T, H), strided, last
// stride 1.
//   qkv: data (B, T, 3, N, H), as rope_forward left it; becomes the gradient of what rope_forward was given.
//   d_row_scale: fp32 (B, T, N), =: the gradient of c for each row and head, <d_q, q'> / c with the scaled
//   query q', which is read where there is no norm and else made anew from `raw`; exactly 0 where n = 1, for
//   attention to one key does not depend on the query. Undefined where the row scale is the identity.
//   norm: as in the forward, with `raw` as that left it.
void rope_backward(const at::Tensor& d_q, const at::Tensor& d_k, const at::Tensor& d_v,
                   const Rotation& rotation, const at::Tensor& num_keys, const RowScale& row_scale,
                   const QkNorm& norm, const at::Tensor& qkv, const at::Tensor& d_row_scale,
                   const QkNormGradients& norm_gradients);

// Sums the gradient of c into those of its parameters; an undefined output is left out.
//   d_row_scale: fp32 (B, T, N).  d_scale, d_bias: fp32 (N), +=.  d_position: fp32 (as row_scale.position),
//   +=. scratch: fp32 of at least row_scale_scratch(device, N, elements of row_scale.position), contents
//   lost.
void row_scale_backward(const at::Tensor& d_row_scale, const at::Tensor& num_keys, const RowScale& row_scale,
                        const at::Tensor& d_scale, const at::Tensor& d_bias, const at::Tensor& d_position,
                        const at::Tensor& scratch);
int64_t row_scale_scratch(at::Device device, int64_t heads, int64_t positions);

// --- Matrix products
// -------------------------------------------------------------------------------------------------

// out = a b, or out += a b where `accumulate`, summed in fp32.
//   a: data (M, K).  b: data (K, N).  out: data or fp32 (M, N).  a and b: each contiguous or the transpose of
//   a contiguous matrix.
// On a CPU: fp32 alone; each element is a sum in an order that depends neither on the number of threads nor
// on the other rows and columns. On a GPU, where it
// allocates: cuBLASLt, with the algorithm that it proposes first for the shape.
void matrix_product(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out);

// --- Causal attention
// ------------------------------------------------------------------------------------------------

// Which keys the queries attend to: each its own and those before it back to the start of its span. A span is
// a window, or a document within it.
struct Spans {
  at::Tensor num_keys;  // int32 (B, T): the keys of each query, 1 + its offset from the start of its span; in
                        // [1, t + 1]
  // Where windows hold several documents, on a GPU: int32 (spans + 1), the first row of each span among the B
  // T, and B T. Spans may be empty. Undefined elsewhere.
  at::Tensor starts;
  int64_t longest = 0;  // rows of the longest span, or more; with `starts`
};

// Whose kernels compute attention on a GPU; a CPU has one of its own.
enum class AttentionBackend {
  kCudnn,      // bf16; spans that are windows
  kFlash,      // bf16
  kEfficient,  // fp32 and bf16
};

// What the backward needs of the forward.
struct AttentionResult {
  at::Tensor out;        // data (B, T, N, H)
  at::Tensor logsumexp;  // fp32, of the scaled scores: (B, N, T) on a CPU, on a GPU as its kernel has it
  std::vector<at::Tensor> extra;  // what else the GPU's kernel wants back
};

// out = softmax(q k^T / sqrt(H)) v over the keys of each query's span.
//   qkv: data (B, T, 3, N, H).  spans.num_keys is checked.  workspace: fp32 of at least
//   attention_workspace(device, T, H) elements, contents lost.  result: on a CPU its tensors are given, =; on
//   a GPU they are allocated.
// In blocks, after Dao, "FlashAttention-2" (arXiv 2307.08691); no row of scores is stored for the backward.
void attention_forward(const at::Tensor& qkv, const Spans& spans, AttentionBackend backend,
                       const at::Tensor& workspace, AttentionResult& result);

struct AttentionInputGradients {
  at::Tensor d_q, d_k, d_v;  // data (B, N, T, H), strided, last stride 1
};

//   d_out: data (B, T, N, H).  d_qkv: data (B, T, 3, N, H), =, what is returned are its views; undefined on a
//   GPU, where the gradients are allocated.
AttentionInputGradients attention_backward(const at::Tensor& d_out, const at::Tensor& qkv,
                                           const AttentionResult& result, const Spans& spans,
                                           AttentionBackend backend, const at::Tensor& workspace,
                                           const at::Tensor& d_qkv);

// Elements of the workspace with the present number of threads; 0 on a GPU.
int64_t attention_workspace(at::Device device, int64_t time, int64_t head_dim);

// --- Decoding: few new tokens, many earlier ones
// ---------------------------------------------------------------

// Appends the keys and values of T new tokens of each sequence to a cache, and attends to it: query t of
// sequence b sees the num_keys[b, t] keys that end with its own, at position + t. The result of a sequence
// does not depend on the others of the batch.
//   qkv: data (B, T, 3, N, H), as rope_forward left it.  num_keys: int32 (B, T), 1 to position + t + 1
//   (checked). keys, values: data (B, N, C, H), positions [0, position) filled; [position, position + T) are
//   =, T fits in C. scratch: fp32 (B, N, C + H), contents lost.  out: data (B, T, N, H), =.
void cached_attention_forward(const at::Tensor& qkv, const at::Tensor& num_keys, int64_t position,
                              const at::Tensor& keys, const at::Tensor& values, const at::Tensor& scratch,
                              const at::Tensor& out);

// out = x weight^T for few rows, where reading the weight is what takes the time. On a CPU a row's bits
// depend neither on the other rows nor on the number of threads, which a BLAS does not promise; on a GPU it
// is matrix_product.
//   x: data (M, K).  weight: data (N, K).  out: data or fp32 (M, N), =.
void thin_linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out);

// --- SwiGLU (Shazeer, arXiv 2002.05202)
// ----------------------------------------------------------------------------

// out = silu(gate) * up.   gate_up: data (M, 2F), gate in columns [0, F).  out: data (M, F), =.
void swiglu_forward(const at::Tensor& gate_up, const at::Tensor& out);

// d_out: data (M, F).  d_gate_up: data (M, 2F), =; may be gate_up itself.
void swiglu_backward(const at::Tensor& d_out, const at::Tensor& gate_up, const at::Tensor& d_gate_up);

// --- Softmax cross-entropy
// -----------------------------------------------------------------------------------------

// losses[r] = log(sum over v < vocab_size of exp(logits[r, v])) - logits[r, targets[r]] in nats; 0 where the
// target is negative.   logits: data (R, C), C >= vocab_size; the columns beyond are padding, never
// predicted.
//   targets: int64 (R), below vocab_size (checked).  losses: fp32 (R), =.
void cross_entropy_forward(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab_size,
                           const at::Tensor& losses);

// The same, and the logits become the gradient of the sum of the losses: softmax - one_hot(target); 0 in rows
// of a negative target and in padding columns.
void cross_entropy_forward_backward(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab_size,
                                    const at::Tensor& losses);

// --- Embedding
// -----------------------------------------------------------------------------------------------------

// out[m] = table[tokens[m]].   tokens: int64 (M), in [0, V) (checked).  table: data (V, D).  out: data (M,
// D), =.
void embedding_forward(const at::Tensor& tokens, const at::Tensor& table, const at::Tensor& out);

// d_table[tokens[m]] += d_out[m], in an order that the tokens alone decide: on a CPU that of m.   d_out: data
// (M, D). d_table: fp32 (V, D).  On a GPU it allocates, for the tokens are sorted first, and leaves out what
// is no token.
void embedding_backward(const at::Tensor& tokens, const at::Tensor& d_out, const at::Tensor& d_table);

// --- Operations on flat tensors
// --------------------------------------------------------------------

// The instruction set that the CPU's loops were chosen for on this machine. Another one rounds some sums
// otherwise.
std::string_view instruction_set();

// Sum, fp64 of one element on flat's device: over fixed chunks, in fp64, combined in order.
//   flat: fp32 (any size).
at::Tensor flat_sum(const at::Tensor& flat);

// Sum of squares, fp64 of one element on flat's device: over fixed chunks, in fp64, combined in order.
//   flat: fp32 (any size).
at::Tensor squared_norm(const at::Tensor& flat);

// Elements [begin, begin + size) of flat tensors, whose moments stand from `moment` on in tensors of their
// own.
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
//   master, grad: fp32 of equal size; grad is only read.  exp_avg, exp_avg_sq: fp32 of equal size. bf16_copy:
//   bf16 of the master's size, =, the new master rounded; undefined: none.  slices: disjoint, within the
//   tensors.  step: 1 for the first.  grad_factor: fp32 of one element; where it is not finite, nothing
//   changes.
void adamw_update(const at::Tensor& master, const at::Tensor& grad, const at::Tensor& exp_avg,
                  const at::Tensor& exp_avg_sq, const at::Tensor& bf16_copy,
                  const std::vector<AdamWSlice>& slices, const AdamWOptions& options, int64_t step,
                  const at::Tensor& grad_factor);

}  // namespace ssgpt::kernels
