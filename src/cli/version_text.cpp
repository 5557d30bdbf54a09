#include "cli/version_text.h"

#include "core/version.h"
#include "device/gpu.h"

#include <fmt/format.h>
#include <torch/headeronly/version.h>

namespace ssgpt::cli {

std::string version_text() {
  return fmt::format("ssgpt {}\nrevision  {}\nLibTorch  {}\n{}", core::version(), core::git_revision(),
                     TORCH_VERSION, device::cuda_versions());
}

}  // namespace ssgpt::cli
