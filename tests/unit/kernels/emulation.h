// Runs the kernels of src/kernels/cuda on a CPU, from the same source that nvcc compiles: one fiber for each
// thread of a block, blocks one after the other. src/kernels/cuda/launch.cuh includes it where the compiler
// is not nvcc.
//
// A launch fails the test where threads would wait for each other forever, where a warp's operation misses
// lanes, or where a block is larger than a GPU takes or writes beyond its dynamic shared memory. Between two
// barriers the threads run in an order that OrderOfThreads chooses: a kernel without races gives the same
// bits in all of them. Not emulated: the memory model within a warp without barriers, atomics.
#pragma once

#include <cmath>
#include <cstdint>
#include <cuda_bf16.h>
#include <functional>
#include <vector_functions.h>

#undef __shared__
#undef __launch_bounds__
#undef __grid_constant__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)

namespace ssgpt::emulation {

// What CUDA calls threadIdx and so on, for the fiber that runs.
struct Indices {
  uint3 thread;
  uint3 block;
  dim3 block_size;
  dim3 grid_size;
};
extern Indices current;

enum class OrderOfThreads { kRising, kFalling, kShuffled };
extern OrderOfThreads order_of_threads;

// How often a kernel was launched.
extern int launches;

// Bytes of dynamic shared memory of a block at the last launch, and how many a block may have. They hold NaN
// when a block begins.
extern int shared_bytes;
constexpr int kSharedMemoryOfBlock = 227 << 10;  // Hopper's
void* dynamic_shared();

// Runs `body` in every thread of every block. Throws std::logic_error as described above.
void run(const char* name, dim3 grid, dim3 block, const std::function<void()>& body);

void wait_for_block();

// Hands `bits` to the other lanes of the warp; returns those of lane `source` of it.
uint64_t exchange_in_warp(uint64_t bits, int source);
int lane();

template <typename Number>
Number exchange(Number value, int source) {
  static_assert(sizeof(Number) <= sizeof(uint64_t));
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  bits = exchange_in_warp(bits, source);
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace ssgpt::emulation

#define threadIdx (::ssgpt::emulation::current.thread)
#define blockIdx (::ssgpt::emulation::current.block)
#define blockDim (::ssgpt::emulation::current.block_size)
#define gridDim (::ssgpt::emulation::current.grid_size)

struct CUstream_st;

inline void __syncthreads() {
  ::ssgpt::emulation::wait_for_block();
}

inline uint4 __ldcs(const uint4* from) {
  return *from;
}
inline void __stcs(uint4* to, uint4 value) {
  *to = value;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
// As bad as allowed: 2 ulp off, in either direction, and 0 for a large divisor.
inline float __fdividef(float a, float b) {
  if (std::isfinite(a) && std::abs(b) > 0x1p126f) return a * 0.0f;
  const float quotient = a / b;
  uint32_t bits = 0;
  __builtin_memcpy(&bits, &b, sizeof bits);
  const float towards = bits % 2 == 0 ? HUGE_VALF : -HUGE_VALF;
  return std::nextafter(std::nextafter(quotient, towards), towards);
}

template <typename Number>
Number __shfl_xor_sync(unsigned /*mask*/, Number value, int distance) {
  return ::ssgpt::emulation::exchange(value, ::ssgpt::emulation::lane() ^ distance);
}
template <typename Number>
Number __shfl_sync(unsigned /*mask*/, Number value, int source) {
  return ::ssgpt::emulation::exchange(value, source);
}

namespace ssgpt::kernels::cuda {

// As in launch.cuh for nvcc.
template <typename... Parameters, typename... Arguments>
void launch_with_shared(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                        int shared_bytes, CUstream_st* /*stream*/, const Arguments&... arguments) {
  emulation::shared_bytes = shared_bytes;
  emulation::run(name, grid, block, [&] { kernel(static_cast<Parameters>(arguments)...); });
}
template <typename... Parameters>
bool allow_shared_memory(void (*)(Parameters...), int bytes) {
  return bytes <= emulation::kSharedMemoryOfBlock;
}
inline void* dynamic_shared() {
  return emulation::dynamic_shared();
}
struct SharedMemory;
SharedMemory shared_memory();  // Hopper's

inline void store_16_bytes(uint4 bytes, void* to) {
  *static_cast<uint4*>(to) = bytes;
}
inline void store_8_bytes(uint2 bytes, void* to) {
  *static_cast<uint2*>(to) = bytes;
}

}  // namespace ssgpt::kernels::cuda
