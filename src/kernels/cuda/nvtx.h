// The program's phases and operations as named ranges on the timeline of NVIDIA's profilers, for a process
// that computes on a GPU. A range does nothing if no profiler is attached.
#pragma once

#include "core/profile.h"

namespace ssgpt::kernels::cuda {

class NvtxRanges : public core::ProfileListener {
 public:
  void begin(std::string_view name, const core::Work& work) override;
  void end() override;
};

}  // namespace ssgpt::kernels::cuda
