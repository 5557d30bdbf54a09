// Replaces gpu_cuda.cpp in builds without a CUDA toolkit.

#include "core/check.h"
#include "device/gpu.h"

namespace ssgpt::device {

GpuCount count_gpus() {
  return {.count = 0, .why_no_more = "this program was built without CUDA"};
}

GpuDescription describe_gpu(int64_t /*index*/) {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

GpuDescription current_gpu() {
  SSGPT_CHECK(false, "this program was built without CUDA");
}

}  // namespace ssgpt::device
