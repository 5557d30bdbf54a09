// CUDA kernels behind kernels/ops.h, as tables of functions that launch them. Raw pointers to memory of the
// current device, no checks of arguments, no waiting: a function returns as soon as its kernels are queued on
// `stream`. Throws core::RunError if the driver refuses a launch. Knows nothing of tensors. Sizes and strides
// count elements.
#pragma once

#include "kernels/views.h"

#include <cstdint>

struct CUstream_st;  // the target of a cudaStream_t

namespace ssgpt::kernels::cuda {

using Stream = CUstream_st*;

// Rows per partial sum of a norm's weight gradient: the same as on a CPU.
constexpr int64_t kNormChunkRows = 64;
// Maximum head dim with query/key norm.
constexpr int64_t kMostQkNormDims = 512;
// Elements of a flat tensor per partial sum.
constexpr int64_t kFlatChunk = 65536;
// Where a row of logits stays between the two passes of cross-entropy; the bits are the same.
enum class CrossEntropyRow {
  kAuto,    // in shared memory if two rows fit
  kShared,  // in shared memory if it fits
  kGlobal,  // in global memory, cached by the GPU's L2 if that is large enough
};
// Number of parts into which row_scale_backward splits the rows.
constexpr int64_t kRowScaleParts = 64;

// QkNormGradients of ops.h; not read if there is no norm.
struct QkNormSums {
  float* d_q_gain;  // (head_dim)
  float* d_k_gain;
  float* scratch;  // (2, chunks of kNormChunkRows rows, head_dim)
};

// Arguments correspond to the tensors of ops.h.
template <typename T>
struct DataKernels {
  using Data = T;
  void (*rms_norm_forward)(const T* x, const T* weight, float eps, T* out, float* rstd, int64_t rows,
                           int64_t width, Stream stream);
  void (*add_rms_norm_forward)(const T* residual, const T* branch, const T* weight, float eps, T* sum, T* out,
                               float* rstd, int64_t rows, int64_t width, Stream stream);
  // weight_sums: (chunks of kNormChunkRows rows, width)
  void (*rms_norm_backward)(const T* d_out, const T* x, const T* weight, const float* rstd, bool accumulate,
                            T* d_x, float* weight_sums, int64_t rows, int64_t width, Stream stream);
  void (*rope_forward)(const RopeArgs<T>& args, int64_t batch, Stream stream);
  void (*rope_backward)(const RopeBackwardArgs<T>& args, const QkNormSums& sums, int64_t batch,
                        Stream stream);
  void (*swiglu_forward)(const T* gate_up, T* out, int64_t rows, int64_t width, Stream stream);
  void (*swiglu_backward)(const T* d_out, const T* gate_up, T* d_gate_up, int64_t rows, int64_t width,
                          Stream stream);
  // A target >= vocab_size makes the loss and the gradient of its row NaN.
  void (*cross_entropy)(T* logits, const int64_t* targets, float* losses, int64_t rows, int64_t columns,
                        int64_t vocab_size, bool leave_gradient, CrossEntropyRow row, Stream stream);
  // A token outside [0, vocab_size) makes its row NaN.
  void (*embedding_forward)(const int64_t* tokens, const T* table, T* out, int64_t rows, int64_t width,
                            int64_t vocab_size, Stream stream);
  // tokens: the rows' tokens, sorted; order: the row of each, ascending among equal tokens. Tokens outside
  // [0, vocab_size) are skipped.
  void (*embedding_backward)(const int32_t* tokens, const int64_t* order, const T* d_out, float* d_table,
                             int64_t rows, int64_t width, int64_t vocab_size, Stream stream);
  void (*cached_attention)(const CachedAttentionArgs<T>& args, int64_t batch, Stream stream);
};

struct Table {
  DataKernels<float> fp32;
  DataKernels<Bfloat16> bf16;
  // sums: array of `count`, on the host.
  void (*add_row_sums)(const RowSumsView* sums, int64_t count, int64_t chunks, int64_t width, Stream stream);
  // scratch: fp32, kRowScaleParts * (2 * heads + num_positions) elements. An output may be null.
  void (*row_scale_backward)(const float* d_row_scale, const int32_t* num_keys, RowScaleView row_scale,
                             float* d_scale, float* d_bias, float* d_position, float* scratch, int64_t rows,
                             int64_t heads, Stream stream);
  // partial: fp64, one element per chunk of kFlatChunk. result: one element.
  void (*flat_sum)(const float* flat, double* partial, double* result, int64_t size, Stream stream);
  void (*squared_norm)(const float* flat, double* partial, double* result, int64_t size, Stream stream);
  // slices: array of `count`, on the host. grad_factor: on the device.
  void (*adamw)(const AdamWTensors& tensors, const AdamWSliceView* slices, int64_t count,
                const AdamWScalars& scalars, const float* grad_factor, Stream stream);
};

// Throws core::InternalError if the CUDA library is not loaded.
const Table& table();
Stream current_stream();

// Throws core::RunError: the driver refused a launch, or reported at one that earlier work has failed.
[[noreturn]] void fail_launch(const char* kernel, const char* reason);

// Fill the parts of the table, one per file of kernels.
void fill_norm(Table& table);
void fill_rope(Table& table);
void fill_swiglu(Table& table);
void fill_cross_entropy(Table& table);
void fill_embedding(Table& table);
void fill_flat(Table& table);
void fill_cached_attention(Table& table);

}  // namespace ssgpt::kernels::cuda
