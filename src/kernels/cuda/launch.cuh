// Kernel launches and the building blocks of kernels: 16-byte vectors, and sums over a warp or a block.
// Kernels also compile as plain C++ against a header of the tests that provides CUDA's names, so that the
// tests run the same source on a CPU.
#pragma once

#include "kernels/cuda/table.h"

#include <cstdint>
#include <cuda_bf16.h>
#include <limits>
#include <type_traits>

#ifndef __CUDACC__
#include "kernels/emulation.h"
#endif

namespace ssgpt::kernels::cuda {

constexpr int kWarp = 32;
constexpr unsigned kFullMask = 0xffffffffu;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Shared memory of the current GPU, in bytes.
struct SharedMemory {
  int of_block;            // maximum that a block may request
  int of_multiprocessor;   // total for the blocks of a multiprocessor
  int reserved_for_block;  // reserved per block in addition to its request
};

#ifdef __CUDACC__
// Queues `kernel` on `stream` with `shared_bytes` of dynamic shared memory per block. More than 48 KB must
// have been enabled by allow_shared_memory.
template <typename... Parameters, typename... Arguments>
void launch_with_shared(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                        int shared_bytes, Stream stream, const Arguments&... arguments) {
  kernel<<<grid, block, static_cast<size_t>(shared_bytes), stream>>>(static_cast<Parameters>(arguments)...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) fail_launch(name, cudaGetErrorString(error));
}

// Raises the kernel's limit of dynamic shared memory per block on the current GPU to `bytes`, and lets it use
// all shared memory of a multiprocessor. Returns whether this is possible.
template <typename... Parameters>
bool allow_shared_memory(void (*kernel)(Parameters...), int bytes) {
  const bool is_allowed =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) == cudaSuccess &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                           cudaSharedmemCarveoutMaxShared) == cudaSuccess;
  if (!is_allowed) cudaGetLastError();  // clear the error, or the next launch would report it
  return is_allowed;
}

inline SharedMemory shared_memory() {
  int device = 0;
  SharedMemory memory = {};
  const bool is_known =
      cudaGetDevice(&device) == cudaSuccess &&
      cudaDeviceGetAttribute(&memory.of_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) ==
          cudaSuccess &&
      cudaDeviceGetAttribute(&memory.of_multiprocessor, cudaDevAttrMaxSharedMemoryPerMultiprocessor,
                             device) == cudaSuccess &&
      cudaDeviceGetAttribute(&memory.reserved_for_block, cudaDevAttrReservedSharedMemoryPerBlock, device) ==
          cudaSuccess;
  if (is_known) return memory;
  cudaGetLastError();
  return {};
}

// This block's dynamic shared memory, 16-byte aligned.
__device__ inline void* dynamic_shared() {
  extern __shared__ uint4 dynamic_shared_memory[];
  return dynamic_shared_memory;
}

// One 16-byte store to global memory. In a long loop nvcc turns a struct assignment into four stores.
__device__ inline void store_16_bytes(uint4 bytes, void* to) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(bytes.x), "r"(bytes.y), "r"(bytes.z),
               "r"(bytes.w)
               : "memory");
}
// Likewise for 8 bytes.
__device__ inline void store_8_bytes(uint2 bytes, void* to) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(bytes.x), "r"(bytes.y) : "memory");
}
#endif

constexpr int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Elements of T in the widest memory access.
template <typename T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

// kWidth elements that are loaded and stored at once: 16 bytes if kWidth is kVector<T>, or a single element
// if rows are not 16-byte aligned.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T values[kWidth];
};

__host__ __device__ inline float to_float(float x) {
  return x;
}
__host__ __device__ inline float to_float(Bfloat16 x) {
  __nv_bfloat16_raw raw;
  raw.x = x.bits;
  return __bfloat162float(__nv_bfloat16(raw));
}
__host__ __device__ inline void from_float(float x, float& to) {
  to = x;
}
// Rounds to nearest, ties to even.
__host__ __device__ inline void from_float(float x, Bfloat16& to) {
  to.bits = static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(x)).x;
}
// The value of x after a store.
template <typename T>
__host__ __device__ inline float rounded(float x) {
  T stored;
  from_float(x, stored);
  return to_float(stored);
}

template <int kWidth, typename T>
__device__ inline Pack<T, kWidth> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kWidth>*>(from);
}
template <int kWidth, typename T>
__device__ inline void store_pack(const Pack<T, kWidth>& pack, T* to) {
  *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
}

// Likewise for memory that is not used again soon: it is evicted first, so that what is still needed stays in
// the cache.
template <int kWidth, typename T>
__device__ inline Pack<T, kWidth> load_pack_last(const T* from) {
  if constexpr (sizeof(Pack<T, kWidth>) == sizeof(uint4)) {
    const uint4 bytes = __ldcs(reinterpret_cast<const uint4*>(from));
    Pack<T, kWidth> pack;
    __builtin_memcpy(&pack, &bytes, sizeof pack);
    return pack;
  } else {
    return load_pack<kWidth>(from);
  }
}
template <int kWidth, typename T>
__device__ inline void store_pack_last(const Pack<T, kWidth>& pack, T* to) {
  if constexpr (sizeof pack == sizeof(uint4)) {
    uint4 bytes;
    __builtin_memcpy(&bytes, &pack, sizeof pack);
    __stcs(reinterpret_cast<uint4*>(to), bytes);
  } else {
    store_pack(pack, to);
  }
}

template <int kWidth>
struct Floats {
  float values[kWidth];
};

// A pack as whole words. Load conditionally as whole words: selecting between Packs element by element costs
// one register per bf16 value.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Words {
  static_assert(kWidth == 1 || kWidth == kVector<T>);
  std::conditional_t<kWidth == 1, T, uint32_t> words[kWidth == 1 ? 1 : 4];

  __host__ __device__ Floats<kWidth> floats() const {
    Pack<T, kWidth> pack;
    __builtin_memcpy(&pack, words, sizeof pack);
    Floats<kWidth> result;
    for (int i = 0; i < kWidth; ++i) result.values[i] = to_float(pack.values[i]);
    return result;
  }
};
template <int kWidth, typename T>
__device__ inline Words<T, kWidth> load_words(const T* from) {
  return *reinterpret_cast<const Words<T, kWidth>*>(from);
}
// Rounds to T.
template <typename T, int kWidth>
__host__ __device__ inline Words<T, kWidth> to_words(const Floats<kWidth>& floats) {
  Pack<T, kWidth> pack;
  for (int i = 0; i < kWidth; ++i) from_float(floats.values[i], pack.values[i]);
  Words<T, kWidth> result;
  __builtin_memcpy(result.words, &pack, sizeof pack);
  return result;
}
// Stores to global memory.
template <typename T, int kWidth>
__device__ inline void store_words(const Words<T, kWidth>& words, T* to) {
  if constexpr (kWidth == 1) {
    *to = words.words[0];
  } else {
    store_16_bytes(make_uint4(words.words[0], words.words[1], words.words[2], words.words[3]), to);
  }
}

// Sum over groups of `lanes` neighbouring lanes (a power of two), returned to each of them. All lanes of the
// warp must call it.
template <typename Number>
__device__ inline Number warp_sum(Number value, int lanes = kWarp) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kFullMask, value, distance);
  }
  return value;
}

// Sum over this thread's aligned group of `warps` warps, returned to each of their threads. shared: one
// element per warp of the block; all threads of the block must call it.
template <typename Number>
__device__ inline Number warps_sum(Number value, int warps, Number* shared) {
  value = warp_sum(value);
  if (warps == 1) return value;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first = warp / warps * warps;
  __syncthreads();  // the previous sum has been read
  if (static_cast<int>(threadIdx.x) % kWarp == 0) shared[warp] = value;
  __syncthreads();
  Number sum = shared[first];
  for (int i = 1; i < warps; ++i) sum += shared[first + i];
  return sum;
}

// Queues `kernel` on `stream`.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, Stream stream,
            const Arguments&... arguments) {
  launch_with_shared(name, kernel, grid, block, /*shared_bytes=*/0, stream, arguments...);
}

}  // namespace ssgpt::kernels::cuda
