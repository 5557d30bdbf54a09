// Loops for RoPE, including the norm before it and attention's row scale after it.
#pragma once

#include "kernels/cpu/norm.h"
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

// Rotation of the heads of a row: pairs (i, i + half) are rotated by an angle, later elements are not.
struct RowRotation {
  RowRotation(const RotationView& rotation, int64_t time)
      : half(rotation.dims / 2),
        cos(rotation.cos + time * half),
        sin(rotation.sin + time * half),
        rest(rotation.rest) {}
  int64_t half;
  const float* cos;
  const float* sin;
  float rest;
};

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
void rotate_row_backward(const T* d_out, const float* cos, const float* sin, float factor, T* d_x,
                         int64_t half) {
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = load(d_out[i]);
    const float high = load(d_out[i + half]);
    store(d_x[i], (low * cos[i] + high * sin[i]) * factor);
    store(d_x[i + half], (high * cos[i] - low * sin[i]) * factor);
  }
}

// Elements [begin, end) of x times factor; out may be x.
template <typename T>
void scale_rest(const T* x, float factor, T* out, int64_t begin, int64_t end) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) store(out[i], load(x[i]) * factor);
}

// Rotates a head of q or k in place.
template <typename T>
void rotate_head(T* x, const RowRotation& rotation, float factor, int64_t head_dim) {
  rotate_row(x, rotation.cos, rotation.sin, factor, rotation.half);
  const float rest = rotation.rest * factor;
  if (rest != 1.0f) scale_rest(x, rest, x, 2 * rotation.half, head_dim);
}

// Likewise after a norm; raw, unless null, = the original x.
template <typename T>
void norm_and_rotate_head(T* x, const T* gain, float eps, T* raw, const RowRotation& rotation, float factor,
                          int64_t head_dim) {
  const int64_t half = rotation.half;
  const float* cos = rotation.cos;
  const float* sin = rotation.sin;
  const float rstd = rstd_of(squared_length(x, head_dim), eps, head_dim);
  if (raw != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < head_dim; ++i) raw[i] = x[i];
  }
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = load(x[i]) * rstd * load(gain[i]);
    const float high = load(x[i + half]) * rstd * load(gain[i + half]);
    store(x[i], (low * cos[i] - high * sin[i]) * factor);
    store(x[i + half], (high * cos[i] + low * sin[i]) * factor);
  }
  const float rest = rotation.rest * factor;
#pragma omp simd
  for (int64_t i = 2 * half; i < head_dim; ++i) store(x[i], load(x[i]) * rstd * load(gain[i]) * rest);
}

// Backward of norm_and_rotate_head: d_raw = gradient of the norm's input, d_gain += gradient of the gain.
// Returns the gradient of `factor`. With w = d_out rotated back, and n = raw rstd gain, the input of the
// rotation:
//   d_factor = <w, n>;  d_gain = factor w raw rstd;
//   d_raw = factor (w gain rstd - raw rstd^2 / H <w, n>)
template <typename T>
float norm_and_rotate_head_backward(const T* d_out, const T* raw, const T* gain, float eps,
                                    const RowRotation& rotation, float factor, T* d_raw, float* d_gain,
                                    int64_t head_dim) {
  const int64_t half = rotation.half;
  const float* cos = rotation.cos;
  const float* sin = rotation.sin;
  const float rest = rotation.rest;
  const float rstd = rstd_of(squared_length(raw, head_dim), eps, head_dim);
  float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < half; ++i) {
    const float low = load(d_out[i]);
    const float high = load(d_out[i + half]);
    dot += (low * cos[i] + high * sin[i]) * load(gain[i]) * load(raw[i]);
    dot += (high * cos[i] - low * sin[i]) * load(gain[i + half]) * load(raw[i + half]);
  }
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 2 * half; i < head_dim; ++i) dot += load(d_out[i]) * rest * load(gain[i]) * load(raw[i]);

  const float d_factor = dot * rstd;
  const float direct = factor * rstd;
  const float along_raw = direct * d_factor * rstd / static_cast<float>(head_dim);
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const float low = load(d_out[i]);
    const float high = load(d_out[i + half]);
    const float d_low = (low * cos[i] + high * sin[i]) * direct;
    const float d_high = (high * cos[i] - low * sin[i]) * direct;
    d_gain[i] += d_low * load(raw[i]);
    d_gain[i + half] += d_high * load(raw[i + half]);
    store(d_raw[i], d_low * load(gain[i]) - along_raw * load(raw[i]));
    store(d_raw[i + half], d_high * load(gain[i + half]) - along_raw * load(raw[i + half]));
  }
#pragma omp simd
  for (int64_t i = 2 * half; i < head_dim; ++i) {
    const float d = load(d_out[i]) * rest * direct;
    d_gain[i] += d * load(raw[i]);
    store(d_raw[i], d * load(gain[i]) - along_raw * load(raw[i]));
  }
  return d_factor;
}

// Whole-head rotation without a norm: a separate, faster loop.
template <typename T>
void rotate_rows(T* qkv, const float* cos, const float* sin, const int32_t* num_keys, RowScaleView row_scale,
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
bool is_plain(const RopeArgs<T>& args) {
  return args.norm.q_gain == nullptr && args.rotation.dims == args.head_dim;
}

template <typename T>
void rope_forward(const RopeArgs<T>& args, int64_t begin, int64_t end) {
  if (is_plain(args)) {
    rotate_rows(args.qkv, args.rotation.cos, args.rotation.sin, args.num_keys, args.row_scale, args.time,
                args.heads, args.head_dim, begin, end);
    return;
  }
  const int64_t width = args.heads * args.head_dim;
  const QkNormView<T>& norm = args.norm;
  for (int64_t row = begin; row < end; ++row) {
    const RowRotation rotation(args.rotation, row % args.time);
    for (int64_t head = 0; head < args.heads; ++head) {
      T* q = args.qkv + row * 3 * width + head * args.head_dim;
      T* k = q + width;
      const float c = row_scale_at(args.row_scale, head, args.num_keys[row]);
      if (norm.q_gain == nullptr) {
        rotate_head(q, rotation, c, args.head_dim);
        rotate_head(k, rotation, 1.0f, args.head_dim);
        continue;
      }
      T* raw_q = norm.raw == nullptr ? nullptr : norm.raw + row * 2 * width + head * args.head_dim;
      T* raw_k = norm.raw == nullptr ? nullptr : raw_q + width;
      norm_and_rotate_head(q, norm.q_gain, norm.eps, raw_q, rotation, c, args.head_dim);
      norm_and_rotate_head(k, norm.k_gain, norm.eps, raw_k, rotation, 1.0f, args.head_dim);
    }
  }
}

template <bool kPlain, typename T>
void turn_rows_back(const RopeBackwardArgs<T>& args, float* d_q_gain, float* d_k_gain, int64_t begin,
                    int64_t end) {
  const RopeArgs<T>& rope = args.rope;
  const QkNormView<T>& norm = rope.norm;
  const int64_t head_dim = rope.head_dim;
  const int64_t width = rope.heads * head_dim;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / rope.time;
    const int64_t t = row % rope.time;
    const RowRotation rotation(rope.rotation, t);
    const int64_t rotated = 2 * rotation.half;
    for (int64_t head = 0; head < rope.heads; ++head) {
      T* q = rope.qkv + row * 3 * width + head * head_dim;
      T* k = q + width;
      T* v = k + width;
      const T* d_q = args.d_q.data + b * args.d_q.batch + head * args.d_q.head + t * args.d_q.time;
      const T* d_k = args.d_k.data + b * args.d_k.batch + head * args.d_k.head + t * args.d_k.time;
      const T* d_v = args.d_v.data + b * args.d_v.batch + head * args.d_v.head + t * args.d_v.time;
      const int32_t num_keys = rope.num_keys[row];
      const float c = row_scale_at(rope.row_scale, head, num_keys);
      float d_c = 0.0f;
      if (!kPlain && norm.q_gain != nullptr) {
        const T* raw_q = norm.raw + row * 2 * width + head * head_dim;
        const T* raw_k = raw_q + width;
        d_c = norm_and_rotate_head_backward(d_q, raw_q, norm.q_gain, norm.eps, rotation, c, q, d_q_gain,
                                            head_dim);
        norm_and_rotate_head_backward(d_k, raw_k, norm.k_gain, norm.eps, rotation, 1.0f, k, d_k_gain,
                                      head_dim);
      } else {
        if (args.d_row_scale != nullptr) {
          float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
          for (int64_t i = 0; i < head_dim; ++i) dot += load(d_q[i]) * load(q[i]);
          d_c = dot / c;
        }
        rotate_row_backward(d_q, rotation.cos, rotation.sin, c, q, rotation.half);
        rotate_row_backward(d_k, rotation.cos, rotation.sin, 1.0f, k, rotation.half);
        if (!kPlain) {
          scale_rest(d_q, rotation.rest * c, q, rotated, head_dim);
          scale_rest(d_k, rotation.rest, k, rotated, head_dim);
        }
      }
      if (args.d_row_scale != nullptr) args.d_row_scale[row * rope.heads + head] = num_keys == 1 ? 0.0f : d_c;
#pragma omp simd
      for (int64_t i = 0; i < head_dim; ++i) v[i] = d_v[i];
    }
  }
}

template <typename T>
void rope_backward(const RopeBackwardArgs<T>& args, float* d_q_gain, float* d_k_gain, int64_t begin,
                   int64_t end) {
  if (is_plain(args.rope)) {
    turn_rows_back<true>(args, d_q_gain, d_k_gain, begin, end);
  } else {
    turn_rows_back<false>(args, d_q_gain, d_k_gain, begin, end);
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
