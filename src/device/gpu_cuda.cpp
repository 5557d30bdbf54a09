// Queries to the CUDA runtime; gpu_without_cuda.cpp replaces this file where there is no toolkit.

#include "core/error.h"
#include "device/gpu.h"

#include <cuda_runtime_api.h>

namespace ssgpt::device {
namespace {

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw core::RunError("CUDA: {}: {}.", what, cudaGetErrorString(error));
}

}  // namespace

GpuCount count_gpus() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return {.count = count, .why_no_more = {}};
  cudaGetLastError();  // clears the error, which the next launch would report
  return {.count = 0, .why_no_more = error == cudaSuccess ? "there is none" : cudaGetErrorString(error)};
}

GpuDescription current_gpu() {
  int index = 0;
  check(cudaGetDevice(&index), "which GPU is the current one");
  return describe_gpu(index);
}

GpuDescription describe_gpu(int64_t index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, static_cast<int>(index)), "the properties of the GPU");
  return {.index = index,
          .name = properties.name,
          .compute_major = properties.major,
          .compute_minor = properties.minor,
          .memory_bytes = properties.totalGlobalMem};
}

}  // namespace ssgpt::device
