// The loops of rotary positions and of attention's row scale.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

inline float row_scale_at(const RowScaleView& row_scale, int64_t head, int32_t num_keys) {
  constexpr float kSmallest = 1e-20f;  // see RowScale in ops.h
  if (row_scale.position == nullptr) return 1.0f;
  float c = row_scale.position[num_keys - 1];
  if (row_scale.scale != nullptr) c *= row_scale.scale[head];
  if (row_scale.bias != nullptr) c += row_scale.bias[head];
  if (__builtin_fabsf(c) < kSmallest) c = __builtin_copysignf(kSmallest, c);
  return c;
}

template <typename T>
void rotate_row(T* x, const float* cos, const float* sin, float factor, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = load(x[i]);
    const float high = load(x[i + half]);
    store(x[i], (low * cos[i] - high * sin[i]) * factor);
    store(x[i + half], (high * cos[i] + low * sin[i]) * factor);
  }
}

// The transpose of rotate_row.
template <typename T>
void rotate_row_back(const T* d_out, const float* cos, const float* sin, float factor, T* d_x, int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = load(d_out[i]);
    const float high = load(d_out[i + half]);
    store(d_x[i], (low * cos[i] + high * sin[i]) * factor);
    store(d_x[i + half], (high * cos[i] - low * sin[i]) * factor);
  }
}

template <typename T>
void rope_forward(T* qkv, const float* cos, const float* sin, const int32_t* num_keys, RowScaleView row_scale,
                  int64_t time, int64_t heads, int64_t head_dim, int64_t begin, int64_t end) {
  const int64_t half = head_dim / 2;
  for (int64_t row = begin; row < end; ++row) {
    const float* row_cos = cos + (row % time) * half;
    const float* row_sin = sin + (row % time) * half;
    T* q = qkv + row * 3 * heads * head_dim;
    T* k = q + heads * head_dim;
    for (int64_t head = 0; head < heads; ++head) {
      rotate_row(q + head * head_dim, row_cos, row_sin, row_scale_at(row_scale, head, num_keys[row]), half);
      rotate_row(k + head * head_dim, row_cos, row_sin, 1.0f, half);
    }
  }
}

template <typename T>
void rope_backward(const RopeBackwardArgs<T>& args, int64_t begin, int64_t end) {
  const int64_t half = args.head_dim / 2;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / args.time;
    const int64_t t = row % args.time;
    const float* cos = args.cos + t * half;
    const float* sin = args.sin + t * half;
    for (int64_t head = 0; head < args.heads; ++head) {
      T* q = args.qkv + (row * 3 * args.heads + head) * args.head_dim;
      T* k = q + args.heads * args.head_dim;
      T* v = k + args.heads * args.head_dim;
      const T* d_q = args.d_q.data + b * args.d_q.batch + head * args.d_q.head + t * args.d_q.time;
      const T* d_k = args.d_k.data + b * args.d_k.batch + head * args.d_k.head + t * args.d_k.time;
      const T* d_v = args.d_v.data + b * args.d_v.batch + head * args.d_v.head + t * args.d_v.time;
      const int32_t num_keys = args.num_keys[row];
      const float c = row_scale_at(args.row_scale, head, num_keys);
      if (args.d_row_scale != nullptr) {
        float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < args.head_dim; ++i) dot += load(d_q[i]) * load(q[i]);
        args.d_row_scale[row * args.heads + head] = num_keys == 1 ? 0.0f : dot / c;
      }
      rotate_row_back(d_q, cos, sin, c, q, half);
      rotate_row_back(d_k, cos, sin, 1.0f, k, half);
#pragma omp simd
      for (int64_t i = 0; i < args.head_dim; ++i) v[i] = d_v[i];
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
