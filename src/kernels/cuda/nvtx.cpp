#include "kernels/cuda/nvtx.h"

#include <nvtx3/nvToolsExt.h>
#include <string>

namespace ssgpt::kernels::cuda {

void NvtxRanges::begin(std::string_view name, const core::Work&) {
  nvtxRangePushA(std::string(name).c_str());
}

void NvtxRanges::end() {
  nvtxRangePop();
}

}  // namespace ssgpt::kernels::cuda
