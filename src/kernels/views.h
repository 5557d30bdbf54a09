// Arguments that the functions of ops.h pass to the CPU loops and the CUDA kernels: raw pointers and sizes.
// Knows nothing of tensors. Sizes and strides count elements.
#pragma once

#include <cstdint>

namespace ssgpt::kernels {

// Storage of a bf16 number: the upper half of an fp32.
struct Bfloat16 {
  uint16_t bits;
};

// RowScale of ops.h; a null pointer stands for an undefined tensor.
struct RowScaleView {
  const float* position;
  const float* scale;
  const float* bias;
  int64_t num_positions;  // elements of position
};

// One of d_q, d_k, d_v: element (b, n, t, h) is at b * batch + n * head + t * time + h.
template <typename T>
struct HeadsView {
  const T* data;
  int64_t batch;
  int64_t head;
  int64_t time;
};

// Rotation of ops.h.
struct RotationView {
  const float* cos;  // (time, dims / 2)
  const float* sin;
  float rest;
  int64_t dims;  // rotated dimensions per head
};

// QkNorm of ops.h; a null pointer stands for an undefined tensor.
template <typename T>
struct QkNormView {
  const T* q_gain;  // (head_dim)
  const T* k_gain;
  float eps;
  T* raw;  // (batch, time, 2, heads, head_dim)
};

template <typename T>
struct RopeArgs {
  T* qkv;  // (batch, time, 3, heads, head_dim)
  RotationView rotation;
  const int32_t* num_keys;  // (batch, time)
  RowScaleView row_scale;
  QkNormView<T> norm;
  int64_t time, heads, head_dim;
};

template <typename T>
struct RopeBackwardArgs {
  RopeArgs<T> rope;  // as the forward was given; qkv becomes the gradient
  HeadsView<T> d_q, d_k, d_v;
  float* d_row_scale;  // (batch, time, heads) or null
};

template <typename T>
struct CachedAttentionArgs {
  const T* qkv;             // (batch, time, 3, heads, head_dim)
  const int32_t* num_keys;  // (batch, time)
  T* keys;                  // (batch, heads, capacity, head_dim)
  T* values;
  T* out;          // (batch, time, heads, head_dim)
  float* scratch;  // (batch, heads, capacity + head_dim)
  float scale;     // applied to the scores
  int64_t position, time, heads, head_dim, capacity;
};

// RowSums of ops.h.
struct RowSumsView {
  const float* of_chunks;
  float* total;
};

struct AdamWScalars {
  float one_minus_beta1, beta2, one_minus_beta2;
  float inverse_sqrt_bias2;  // 1 / sqrt(1 - beta2^step)
  float eps;
};
struct AdamWRates {
  float keep;       // 1 - lr * weight_decay
  float step_size;  // lr / (1 - beta1^step)
};

// The tensors of adamw_update; a null pointer stands for no bf16_copy.
struct AdamWTensors {
  float* master;
  const float* grad;
  float* exp_avg;
  float* exp_avg_sq;
  Bfloat16* bf16_copy;
};

// AdamWSlice of ops.h.
struct AdamWSliceView {
  int64_t begin, moment, size;
  AdamWRates rates;
};

}  // namespace ssgpt::kernels
