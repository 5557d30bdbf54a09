// What libssgpt_cuda.so provides to this folder.
#pragma once

#include "device/gpu.h"

#include <cstdint>
#include <string>

namespace ssgpt::device {

struct GpuFunctions {
  const char* (*revision)();  // core::git_revision() of the library ...
  const char* (
      *headers_digest)();  // ... and core::headers_digest(): first, to be read whatever else has changed
  GpuCount (*count_gpus)();
  GpuDescription (*describe_gpu)(int64_t index);
  GpuDescription (*current_gpu)();
  std::string (*library_versions)();
};
inline constexpr const char* kGpuFunctions = "ssgpt_gpu_functions";

}  // namespace ssgpt::device
