// Attention of new tokens to a KV cache: one kernel appends the new keys and values, another attends, with
// one block per query and head.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <type_traits>

namespace ssgpt::kernels::cuda {

constexpr int kCacheThreads = 256;
constexpr int kCacheWarps = kCacheThreads / kWarp;
// Keys whose scores a block holds at a time: one per thread.
constexpr int kCacheTile = kCacheThreads;

// Grid: (row of batch x time, 0 for keys or 1 for values).
template <typename T, int kWidth>
__global__ void __launch_bounds__(kCacheThreads) append_to_cache_kernel(CachedAttentionArgs<T> args) {
  const int64_t row = blockIdx.x;
  const int64_t batch = row / args.time;
  const int64_t position = args.position + row % args.time;
  const int64_t width = args.heads * args.head_dim;
  const T* from = args.qkv + (3 * row + 1 + blockIdx.y) * width;
  T* cache = blockIdx.y == 0 ? args.keys : args.values;
  for (int64_t i = threadIdx.x * kWidth; i < width; i += kCacheThreads * kWidth) {
    const int64_t pair = batch * args.heads + i / args.head_dim;
    T* to = cache + (pair * args.capacity + position) * args.head_dim + i % args.head_dim;
    store_pack(load_pack<kWidth>(from + i), to);
  }
}

template <typename T, int kWidth>
__device__ inline float dot(const Pack<T, kWidth>& a, const Pack<T, kWidth>& b) {
  float sum = 0.0f;
  for (int i = 0; i < kWidth; ++i) sum = fmaf(to_float(a.values[i]), to_float(b.values[i]), sum);
  return sum;
}

// Maximum over the block, returned to every thread; NaN is ignored. shared: one element per warp.
__device__ inline float block_max(float value, float* shared) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullMask, value, distance));
  }
  __syncthreads();  // the previous maximum has been read
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  for (int warp = 0; warp < kCacheWarps; ++warp) value = fmaxf(value, shared[warp]);
  return value;
}

// Work split within a block: each group of `lanes` threads handles every num_groups-th key, and each lane
// kWidth of its columns.
struct CacheLanes {
  int lanes;  // a power of two, at most a warp
  int group, num_groups, lane;
};

// Vectors that a lane loads ahead of their use.
constexpr int kCacheAhead = 4;

// scores[j] = scale <query, keys[j]> for the `count` keys of a tile.
template <typename T, int kWidth>
__device__ inline void score_tile(const T* query, const T* keys, int count, int64_t head_dim, float scale,
                                  const CacheLanes& at, float* scores) {
  const int64_t step = int64_t{at.lanes} * kWidth;
  for (int first = 0; first < count; first += kCacheAhead * at.num_groups) {
    float sums[kCacheAhead] = {};
    for (int64_t column = int64_t{at.lane} * kWidth; column < head_dim; column += step) {
      const Pack<T, kWidth> q = load_pack<kWidth>(query + column);
      Pack<T, kWidth> k[kCacheAhead];
      for (int ahead = 0; ahead < kCacheAhead; ++ahead) {
        const int j = first + ahead * at.num_groups + at.group;
        k[ahead] = load_pack<kWidth>(keys + (j < count ? j : count - 1) * head_dim + column);
      }
      for (int ahead = 0; ahead < kCacheAhead; ++ahead) sums[ahead] += dot(q, k[ahead]);
    }
    for (int distance = at.lanes / 2; distance > 0; distance /= 2) {
      for (float& sum : sums) sum += __shfl_xor_sync(kFullMask, sum, distance);
    }
    for (int ahead = 0; ahead < kCacheAhead; ++ahead) {
      const int j = first + ahead * at.num_groups + at.group;
      if (j < count && at.lane == 0) scores[j] = sums[ahead] * scale;
    }
  }
}

// sums[i] += sum over this group's keys of weights[j] values[j][i], starting at the lane's own columns.
template <typename T, int kWidth>
__device__ inline void mix_tile(const float* weights, const T* values, int count, int64_t head_dim,
                                const CacheLanes& at, float (&sums)[kWidth]) {
  for (int first = at.group; first < count; first += kCacheAhead * at.num_groups) {
    Pack<T, kWidth> v[kCacheAhead];
    for (int ahead = 0; ahead < kCacheAhead; ++ahead) {
      const int j = first + ahead * at.num_groups;
      if (j < count) v[ahead] = load_pack<kWidth>(values + j * head_dim);
    }
    for (int ahead = 0; ahead < kCacheAhead; ++ahead) {
      const int j = first + ahead * at.num_groups;
      if (j >= count) break;
      for (int i = 0; i < kWidth; ++i) sums[i] = fmaf(weights[j], to_float(v[ahead].values[i]), sums[i]);
    }
  }
}

// Grid: (query of batch x heads x time, part of the columns of `out`), where a part is as wide as the lanes
// of a group together. Online softmax, tile by tile, rescaled when a larger score appears (Milakov and
// Gimelshein, arXiv 1805.02867).
template <typename T, int kWidth>
__global__ void __launch_bounds__(kCacheThreads)
    cached_attention_kernel(CachedAttentionArgs<T> args, int lanes) {
  __shared__ float scores[kCacheTile];
  __shared__ float of_warps[kCacheWarps];
  __shared__ float mixed[kCacheWarps][kWarp * kWidth];
  const int64_t time = blockIdx.x % args.time;
  const int64_t pair = blockIdx.x / args.time;
  const int64_t row = pair / args.heads * args.time + time;
  const int64_t head = pair % args.heads;
  const int64_t head_dim = args.head_dim;
  const int64_t columns = int64_t{lanes} * kWidth;
  const int64_t first_column = blockIdx.y * columns;
  T* out = args.out + (row * args.heads + head) * head_dim;
  const int thread = static_cast<int>(threadIdx.x);
  const CacheLanes at = {lanes, thread / lanes, kCacheThreads / lanes, thread % lanes};
  const int64_t last = args.position + time;  // position of the query's own key
  const int64_t count = args.num_keys[row];
  if (count < 1 || count > last + 1) {
    for (int64_t i = first_column + thread; i < head_dim && i < first_column + columns; i += kCacheThreads) {
      from_float(NAN, out[i]);
    }
    return;
  }
  const T* query = args.qkv + (3 * row * args.heads + head) * head_dim;
  const int64_t first_key = (pair * args.capacity + last + 1 - count) * head_dim;
  const int64_t column = first_column + int64_t{at.lane} * kWidth;

  float largest = -FLT_MAX;  // finite: scores of minus infinity then get weight 0
  float normalizer = 0.0f;   // this thread's share
  float sums[kWidth] = {};
  for (int64_t done = 0; done < count; done += kCacheTile) {
    const int tile = static_cast<int>(count - done < kCacheTile ? count - done : kCacheTile);
    const int64_t tile_keys = first_key + done * head_dim;
    score_tile<T, kWidth>(query, args.keys + tile_keys, tile, head_dim, args.scale, at, scores);
    __syncthreads();
    const float score = thread < tile ? scores[thread] : -FLT_MAX;
    const float before = largest;
    largest = fmaxf(largest, block_max(score, of_warps));
    const float rescale = expf(before - largest);
    const float weight = thread < tile ? expf(score - largest) : 0.0f;
    normalizer = fmaf(normalizer, rescale, weight);
    scores[thread] = weight;
    __syncthreads();
    for (int i = 0; i < kWidth; ++i) sums[i] *= rescale;
    if (column < head_dim) {
      mix_tile<T, kWidth>(scores, args.values + tile_keys + column, tile, head_dim, at, sums);
    }
    __syncthreads();  // before the next tile overwrites scores
  }

  for (int distance = lanes; distance < kWarp; distance *= 2) {
    for (int i = 0; i < kWidth; ++i) sums[i] += __shfl_xor_sync(kFullMask, sums[i], distance);
  }
  if (thread % kWarp < lanes) {
    for (int i = 0; i < kWidth; ++i) mixed[thread / kWarp][at.lane * kWidth + i] = sums[i];
  }
  normalizer = warps_sum(normalizer, kCacheWarps, of_warps);  // also synchronises `mixed`
  for (int64_t i = thread; i < columns && first_column + i < head_dim; i += kCacheThreads) {
    float sum = mixed[0][i];
    for (int warp = 1; warp < kCacheWarps; ++warp) sum += mixed[warp][i];
    from_float(sum / normalizer, out[first_column + i]);
  }
}

template <typename T>
void cached_attention(const CachedAttentionArgs<T>& args, int64_t batch, Stream stream) {
  if (batch == 0 || args.time == 0 || args.heads == 0) return;
  const auto with = [&]<int kWidth>(std::integral_constant<int, kWidth>) {
    launch("append_to_cache", append_to_cache_kernel<T, kWidth>,
           dim3(static_cast<unsigned>(batch * args.time), 2), dim3(kCacheThreads), stream, args);
    int lanes = 1;
    while (lanes < kWarp && lanes * kWidth < args.head_dim) lanes *= 2;
    const auto queries = static_cast<unsigned>(batch * args.heads * args.time);
    const auto parts = static_cast<unsigned>(divide_up(args.head_dim, int64_t{lanes} * kWidth));
    launch("cached_attention", cached_attention_kernel<T, kWidth>, dim3(queries, parts), dim3(kCacheThreads),
           stream, args, lanes);
  };
  if (args.head_dim % kVector<T> == 0) {
    with(std::integral_constant<int, kVector<T>>());
  } else {
    with(std::integral_constant<int, 1>());
  }
}

}  // namespace ssgpt::kernels::cuda
