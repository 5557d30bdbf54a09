// What libssgpt_cuda.so provides to this folder.
#pragma once

#include "device/gpu.h"

#include <cstdint>
#include <string>

namespace ssgpt::device {

struct GpuFunctions {
  const char* (*revision)();  // core::git_revision() of the library; first in every revision of the table
  GpuCount (*count_gpus)();
  GpuDescription (*describe_gpu)(int64_t index);
  GpuDescription (*current_gpu)();
  std::string (*library_versions)();
};
inline constexpr const char* kGpuFunctions = "ssgpt_gpu_functions";

}  // namespace ssgpt::device
