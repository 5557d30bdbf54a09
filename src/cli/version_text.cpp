#include "cli/version_text.h"

#include "core/version.h"

#include <fmt/format.h>
#include <torch/headeronly/version.h>

#ifdef SSGPT_WITH_CUDA
#include <nccl.h>

#include <ATen/detail/CUDAHooksInterface.h>
#endif

namespace ssgpt::cli {
namespace {

#ifdef SSGPT_WITH_CUDA
// cudart 13000 is 13.0, cuDNN 91900 is 9.19.0, NCCL 22809 is 2.28.9.
std::string cuda_text() {
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  const long cuda = hooks.versionCUDART();
  const long cudnn = hooks.versionRuntimeCuDNN();
  int nccl = 0;
  const bool has_nccl = ncclGetVersion(&nccl) == ncclSuccess;
  return fmt::format(
      "CUDA      {}.{}\ncuDNN     {}.{}.{}\nNCCL      {}\n", cuda / 1000, cuda % 1000 / 10, cudnn / 10000,
      cudnn / 100 % 100, cudnn % 100,
      has_nccl ? fmt::format("{}.{}.{}", nccl / 10000, nccl / 100 % 100, nccl % 100) : "unknown");
}
#else
std::string cuda_text() {
  return "CUDA      none: a build for CPUs\n";
}
#endif

}  // namespace

std::string version_text() {
  return fmt::format("ssgpt {}\nrevision  {}\nLibTorch  {}\n{}", core::version(), core::git_revision(),
                     TORCH_VERSION, cuda_text());
}

}  // namespace ssgpt::cli
