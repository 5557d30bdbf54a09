// The output of --version.
#pragma once

#include <string>

namespace ssgpt::cli {

// Version, git revision, and the versions of LibTorch and, where they can be loaded, of CUDA, cuDNN and NCCL.
std::string version_text();

}  // namespace ssgpt::cli
