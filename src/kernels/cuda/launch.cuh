// How a kernel is launched, and what kernels are made of: vectors of 16 bytes, and sums over a warp or a
// block. Kernels are written so that a C++ compiler takes them as well, which finds the names of CUDA in a
// header of the tests: they run the same source on a CPU.
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

// How much shared memory there is on the current GPU, in bytes.
struct SharedMemory {
  int of_block;            // that a block may ask for
  int of_multiprocessor;   // that its blocks have together
  int reserved_for_block;  // beside what it asks for
};

#ifdef __CUDACC__
// Queues `kernel` on `stream`, with `shared_bytes` of dynamic shared memory for each block, which
// allow_shared_memory has allowed where they are more than 48 KB.
template <typename... Parameters, typename... Arguments>
void launch_with_shared(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                        int shared_bytes, Stream stream, const Arguments&... arguments) {
  kernel<<<grid, block, static_cast<size_t>(shared_bytes), stream>>>(static_cast<Parameters>(arguments)...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) fail_launch(name, cudaGetErrorString(error));
}

// Lets each block of a kernel take as much dynamic shared memory on the current GPU, and a multiprocessor
// give all that it has. Returns whether it may.
template <typename... Parameters>
bool allow_shared_memory(void (*kernel)(Parameters...), int bytes) {
  const bool is_allowed =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) == cudaSuccess &&
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                           cudaSharedmemCarveoutMaxShared) == cudaSuccess;
  if (!is_allowed) cudaGetLastError();  // else the next launch would report it
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

// The dynamic shared memory of this block, at a multiple of 16 bytes.
__device__ inline void* dynamic_shared() {
  extern __shared__ uint4 dynamic_shared_memory[];
  return dynamic_shared_memory;
}

// Stores 16 bytes in global memory at once. Of the assignment of a struct nvcc makes four stores in a long
// loop, and leaves it so.
__device__ inline void store_16_bytes(uint4 bytes, void* to) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(bytes.x), "r"(bytes.y), "r"(bytes.z),
               "r"(bytes.w)
               : "memory");
}
// The same of 8 bytes.
__device__ inline void store_8_bytes(uint2 bytes, void* to) {
  asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(bytes.x), "r"(bytes.y) : "memory");
}
#endif

constexpr int64_t divide_up(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

// Elements of T in the widest access that there is.
template <typename T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

// kWidth elements that are read and written at once: 16 bytes where kWidth is kVector<T>, or a single element
// where rows do not begin at a multiple of 16 bytes.
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
// Rounds to the nearest, ties to even.
__host__ __device__ inline void from_float(float x, Bfloat16& to) {
  to.bits = static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(x)).x;
}
// x as it is after a store.
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

// The same for memory that is not used again soon: it is the first to leave the cache, and what is still
// needed stays there.
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

// A pack as whole words. What is read under a condition should be one: merged with what it is otherwise, each
// bf16 number of a Pack takes a register of its own.
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
// Rounds.
template <typename T, int kWidth>
__host__ __device__ inline Words<T, kWidth> to_words(const Floats<kWidth>& floats) {
  Pack<T, kWidth> pack;
  for (int i = 0; i < kWidth; ++i) from_float(floats.values[i], pack.values[i]);
  Words<T, kWidth> result;
  __builtin_memcpy(result.words, &pack, sizeof pack);
  return result;
}
// To global memory.
template <typename T, int kWidth>
__device__ inline void store_words(const Words<T, kWidth>& words, T* to) {
  if constexpr (kWidth == 1) {
    *to = words.words[0];
  } else {
    store_16_bytes(make_uint4(words.words[0], words.words[1], words.words[2], words.words[3]), to);
  }
}

// The sum over groups of `lanes` neighbouring lanes (a power of two) on each of them. All lanes of the warp
// call it.
template <typename Number>
__device__ inline Number warp_sum(Number value, int lanes = kWarp) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kFullMask, value, distance);
  }
  return value;
}

// The sum over the `warps` warps from the multiple of `warps` on that hold this thread, on each of their
// threads. shared: an element for each warp of the block; all threads of the block call it.
template <typename Number>
__device__ inline Number warps_sum(Number value, int warps, Number* shared) {
  value = warp_sum(value);
  if (warps == 1) return value;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int first = warp / warps * warps;
  __syncthreads();  // the sum before this one has been read
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
