// Part of libssgpt_cuda.so: queries to the CUDA runtime, and versions of libraries.

#include "core/error.h"
#include "core/version.h"
#include "device/gpu_functions.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>

namespace ssgpt::device {
namespace {

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw core::RunError("CUDA: {}: {}.", what, cudaGetErrorString(error));
}

GpuCount count() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return {.count = count, .why_no_more = {}};
  cudaGetLastError();  // clears the error, which the next launch would report
  return {.count = 0, .why_no_more = error == cudaSuccess ? "there is none" : cudaGetErrorString(error)};
}

GpuDescription describe(int64_t index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, static_cast<int>(index)), "the properties of the GPU");
  return {.index = index,
          .name = properties.name,
          .compute_major = properties.major,
          .compute_minor = properties.minor,
          .memory_bytes = properties.totalGlobalMem};
}

GpuDescription current() {
  int index = 0;
  check(cudaGetDevice(&index), "which GPU is the current one");
  return describe(index);
}

// cudart 13000 is 13.0, cuDNN 91900 is 9.19.0, NCCL 22809 is 2.28.9.
std::string versions() {
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  const long cuda = hooks.versionCUDART();
  const long cudnn = hooks.versionRuntimeCuDNN();
  int nccl = 0;
  const bool has_nccl = ncclGetVersion(&nccl) == ncclSuccess;
  return fmt::format(
      "CUDA      {}.{}\ncuDNN     {}.{}.{}\nNCCL      {}\n", cuda / 1000, cuda % 1000 / 10, cudnn / 10000,
      cudnn / 100 % 100, cudnn % 100,
      has_nccl ? fmt::format("{}.{}.{}", nccl / 10000, nccl / 100 % 100, nccl % 100) : "unknown");
}

}  // namespace

extern "C" const GpuFunctions ssgpt_gpu_functions;
const GpuFunctions ssgpt_gpu_functions = {.revision = core::git_revision,
                                          .headers_digest = core::headers_digest,
                                          .count_gpus = count,
                                          .describe_gpu = describe,
                                          .current_gpu = current,
                                          .library_versions = versions};

}  // namespace ssgpt::device
