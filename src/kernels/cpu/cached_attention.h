// Loops for attention of new queries to a KV cache.
#pragma once

#include "kernels/cpu/vector_math.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

// scores[j] = scale <query, keys[j]>. Four keys at a time: independent sums hide the latency of the
// additions.
template <typename T>
void score_keys(const T* query, const T* keys, int64_t count, int64_t width, float scale, float* scores) {
  int64_t j = 0;
  for (; j + 4 <= count; j += 4, keys += 4 * width) {
    float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
#pragma omp simd reduction(+ : a, b, c, d)
    for (int64_t i = 0; i < width; ++i) {
      const float q = load(query[i]);
      a += q * load(keys[i]);
      b += q * load(keys[width + i]);
      c += q * load(keys[2 * width + i]);
      d += q * load(keys[3 * width + i]);
    }
    scores[j] = a * scale;
    scores[j + 1] = b * scale;
    scores[j + 2] = c * scale;
    scores[j + 3] = d * scale;
  }
  for (; j < count; ++j, keys += width) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += load(query[i]) * load(keys[i]);
    scores[j] = sum * scale;
  }
}

// Replaces scores by e^(score - max); returns their sum.
inline float exponentiate(float* scores, int64_t count) {
  float largest = scores[0];
#pragma omp simd reduction(max : largest)
  for (int64_t j = 1; j < count; ++j) largest = scores[j] > largest ? scores[j] : largest;
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < count; ++j) {
    scores[j] = exp(scores[j] - largest);
    sum += scores[j];
  }
  return sum;
}

// sums[i] = sum over j of weights[j] values[j][i]
template <typename T>
void mix_values(const float* weights, const T* values, int64_t count, int64_t width, float* sums) {
  __builtin_memset(sums, 0, static_cast<uint64_t>(width) * sizeof(float));
  int64_t j = 0;
  for (; j + 4 <= count; j += 4, values += 4 * width) {
    const float a = weights[j], b = weights[j + 1], c = weights[j + 2], d = weights[j + 3];
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      sums[i] += (a * load(values[i]) + b * load(values[width + i])) +
                 (c * load(values[2 * width + i]) + d * load(values[3 * width + i]));
    }
  }
  for (; j < count; ++j, values += width) {
    const float weight = weights[j];
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) sums[i] += weight * load(values[i]);
  }
}

template <typename T>
void cached_attention(const CachedAttentionArgs<T>& args, int64_t begin, int64_t end) {
  const int64_t width = args.head_dim;
  const int64_t row = 3 * args.heads * width;  // stride of qkv's rows
  const uint64_t bytes = static_cast<uint64_t>(width) * sizeof(T);
  for (int64_t pair = begin; pair < end; ++pair) {
    const int64_t batch = pair / args.heads;
    const int64_t head = pair % args.heads;
    const T* query = args.qkv + batch * args.time * row + head * width;
    T* keys = args.keys + pair * args.capacity * width;
    T* values = args.values + pair * args.capacity * width;
    for (int64_t t = 0; t < args.time; ++t) {
      const int64_t to = (args.position + t) * width;
      __builtin_memcpy(keys + to, query + t * row + args.heads * width, bytes);
      __builtin_memcpy(values + to, query + t * row + 2 * args.heads * width, bytes);
    }
    float* scores = args.scratch + pair * (args.capacity + width);
    float* sums = scores + args.capacity;
    for (int64_t t = 0; t < args.time; ++t) {
      const int64_t count = args.num_keys[batch * args.time + t];
      const int64_t first = args.position + t + 1 - count;
      score_keys(query + t * row, keys + first * width, count, width, args.scale, scores);
      const float normalizer = 1.0f / exponentiate(scores, count);
      mix_values(scores, values + first * width, count, width, sums);
      T* out = args.out + ((batch * args.time + t) * args.heads + head) * width;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) store(out[i], sums[i] * normalizer);
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
