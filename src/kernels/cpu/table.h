// CPU loops behind kernels/ops.h, as tables of function pointers: loops.cpp is compiled once per instruction
// set, and the best table that the processor supports is used. Raw pointers, no checks, no threads: the
// functions of ops.h check and split rows over threads. Sizes and strides count elements.
#pragma once

#include "kernels/views.h"

#include <cstdint>
#include <vector>

namespace ssgpt::kernels::cpu {

// Block size of attention's queries and keys, a whole number of tiles for every instruction set; head dims
// are rounded up to the alignment.
constexpr int64_t kAttentionBlock = 96;
constexpr int64_t kAttentionHeadAlignment = 32;
constexpr int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return divide_up(value, multiple) * multiple;
}

// fp32 workspace elements needed by the attention of one head: the backward's, which are more than the
// forward's.
constexpr int64_t attention_workspace(int64_t time, int64_t head_dim) {
  const int64_t padded_dim = round_up(head_dim, kAttentionHeadAlignment);
  const int64_t per_token = 2 * head_dim + 3 * padded_dim;
  return (round_up(time, kAttentionBlock) + kAttentionBlock) * per_token +
         kAttentionBlock * (2 * kAttentionBlock + 1);
}

template <typename T>
struct AttentionForwardArgs {
  const T* qkv;             // (batch, time, 3, heads, head_dim)
  const int32_t* num_keys;  // (batch, time)
  T* out;                   // (batch, time, heads, head_dim)
  float* logsumexp;         // (batch, heads, time)
  float softmax_scale;
  int64_t time, heads, head_dim;
};

template <typename T>
struct AttentionBackwardArgs {
  const T* d_out;  // (batch, time, heads, head_dim)
  const T* qkv;    // (batch, time, 3, heads, head_dim)
  const T* out;    // (batch, time, heads, head_dim)
  const float* logsumexp;
  const int32_t* num_keys;
  T* d_qkv;  // (batch, time, 3, heads, head_dim)
  float softmax_scale;
  int64_t time, heads, head_dim;
};

// Each function processes `rows` rows from the given pointers; different calls may process different rows on
// different threads.
template <typename T>
struct DataLoops {
  using Data = T;
  void (*rms_norm_forward)(const T* x, const T* weight, float eps, T* out, float* rstd, int64_t rows,
                           int64_t width);
  void (*add_rms_norm_forward)(const T* residual, const T* branch, const T* weight, float eps, T* sum, T* out,
                               float* rstd, int64_t rows, int64_t width);
  // d_weight: (width), +=
  void (*rms_norm_backward)(const T* d_out, const T* x, const T* weight, const float* rstd, bool accumulate,
                            T* d_x, float* d_weight, int64_t rows, int64_t width);
  // Rows [begin, end) of (batch, time) flattened.
  void (*rope_forward)(const RopeArgs<T>& args, int64_t begin, int64_t end);
  // d_q_gain, d_k_gain: (head_dim), +=; not read where there is no norm.
  void (*rope_backward)(const RopeBackwardArgs<T>& args, float* d_q_gain, float* d_k_gain, int64_t begin,
                        int64_t end);
  // Heads [begin, end) of (batch, heads) flattened; workspace: attention_workspace(time, head_dim) elements.
  void (*attention_forward)(const AttentionForwardArgs<T>& args, int64_t begin, int64_t end,
                            float* workspace);
  void (*attention_backward)(const AttentionBackwardArgs<T>& args, int64_t begin, int64_t end,
                             float* workspace);
  void (*swiglu_forward)(const T* gate_up, T* out, int64_t rows, int64_t width);
  void (*swiglu_backward)(const T* d_out, const T* gate_up, T* d_gate_up, int64_t rows, int64_t width);
  void (*cross_entropy)(T* logits, const int64_t* targets, float* losses, int64_t rows, int64_t columns,
                        int64_t vocab_size, bool leave_gradient);
  void (*embedding_forward)(const int64_t* tokens, const T* table, T* out, int64_t rows, int64_t width);
  // Columns [begin, end) of all rows.
  void (*embedding_backward)(const int64_t* tokens, const T* d_out, float* d_table, int64_t rows,
                             int64_t width, int64_t begin, int64_t end);
  // Pairs [begin, end) of (batch, heads) flattened.
  void (*cached_attention)(const CachedAttentionArgs<T>& args, int64_t begin, int64_t end);
  // Columns [begin, end) of out; begin is a multiple of 4, and end too unless it is `outputs`.
  void (*thin_linear)(const T* x, const T* weight, T* out, int64_t rows, int64_t inputs, int64_t outputs,
                      int64_t begin, int64_t end);
  void (*thin_linear_fp32)(const T* x, const T* weight, float* out, int64_t rows, int64_t inputs,
                           int64_t outputs, int64_t begin, int64_t end);
};

// Operand of a GEMM, (rows or columns, depth): element (r, k) at r * row_stride + k * depth_stride; one of
// the strides is 1.
struct Operand {
  const float* data;
  int64_t row_stride;
  int64_t depth_stride;
};

// out[m, n] (or +=) sum over k of a[m, k] b[n, k].
struct ProductArgs {
  Operand a;
  Operand b;
  float* out;
  int64_t out_stride;
  int64_t depth;
  bool accumulate;
};

// Sums over the depth are split into blocks of this length, each starting from zero, which are added in an
// order that the number of threads does not change (see product_schedule.h).
constexpr int64_t kDepthBlock = 256;
// Parts of a GEMM have rows and columns in multiples of these: whole tiles for every instruction set.
constexpr int64_t kProductRowUnit = 12;
constexpr int64_t kProductColumnUnit = 32;

// Rows [row, row + rows) and columns [column, column + columns) of a GEMM over one block of the depth:
// [begin, begin + depth), with depth at most kDepthBlock.
struct ProductPart {
  int64_t row, rows;
  int64_t column, columns;
  int64_t begin, depth;
  // Whether the same thread packs these rows, and these columns, of the next block.
  bool packs_next_rows = false;
  bool packs_next_columns = false;
};

// Rows of a packed at a time, and the fp32 elements that they occupy.
constexpr int64_t kPackedRows = 192;
constexpr int64_t kPackedRowStride = kDepthBlock + 16;  // maps the rows to different L1 cache sets
constexpr int64_t kPackedRowsSize = kPackedRows * kPackedRowStride;

struct Table {
  const char* name;  // name of the instruction set
  DataLoops<float> fp32;
  DataLoops<Bfloat16> bf16;
  // Packs the columns of the part's b in the order in which multiply_packed reads them: (columns rounded up
  // to kProductColumnUnit) * depth elements. Adjacent column ranges may be packed separately with the same
  // result, if each but the last is a multiple of that unit.
  void (*pack_columns)(const ProductArgs& args, const ProductPart& part, float* to);
  // Computes the part of out from its packed columns. rows: kPackedRowsSize elements, contents lost.
  void (*multiply_packed)(const ProductArgs& args, const ProductPart& part, const float* columns,
                          float* rows);
  double (*sum)(const float* values, int64_t count);
  double (*sum_of_squares)(const float* values, int64_t count);
  void (*adamw)(float* master, const float* grad, float* exp_avg, float* exp_avg_sq, int64_t count,
                const AdamWScalars& scalars, const AdamWRates& rates, float grad_factor);
  void (*round_to_bf16)(const float* values, Bfloat16* rounded, int64_t count);
  // Building blocks of the other loops, for tests.
  void (*exp)(const float* x, float* out, int64_t count);
  void (*exp_of_difference)(const float* x, float* out, int64_t count);
};

// The tables that this processor supports, best last.
const std::vector<const Table*>& available_tables();

// The table that ops.h uses: the best, unless a test selected another.
const Table& table();
void use_table(const Table& table);

}  // namespace ssgpt::kernels::cpu
