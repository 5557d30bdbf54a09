// The program's phases and operations as named ranges on the timeline of NVIDIA's profilers. A range does
// nothing if no profiler is attached or the program was built without CUDA.
#pragma once

#include "core/profile.h"

namespace ssgpt::kernels::cuda {

class NvtxRanges : public core::ProfileListener {
 public:
  void begin(std::string_view name, const core::Work& work) override;
  void end() override;
};

}  // namespace ssgpt::kernels::cuda
