// The output of --version.
#pragma once

#include <string>

namespace ssgpt::cli {

// Version, git revision, and the versions of LibTorch, CUDA, cuDNN and NCCL that this process has loaded.
std::string version_text();

}  // namespace ssgpt::cli
