// The phases and operations of the program as named ranges on the time line of NVIDIA's profilers. Without
// one attached, and in a build without CUDA, a range does nothing.
#pragma once

#include "core/profile.h"

namespace ssgpt::kernels::cuda {

class NvtxRanges : public core::ProfileListener {
 public:
  void begin(std::string_view name, const core::Work& work) override;
  void end() override;
};

}  // namespace ssgpt::kernels::cuda
