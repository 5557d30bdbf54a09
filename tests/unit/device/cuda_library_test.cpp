#include "device/cuda_library.h"

#include "core/check.h"
#include "core/error.h"
#include "device/gpu.h"
#include "device/gpu_functions.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <ATen/Context.h>
#include <gmock/gmock.h>

namespace ssgpt::device {
namespace {

using testing::HasSubstr;

// The file of this process's memory whose name begins so; empty if there is none.
std::string mapped(const std::string& name) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/" + name) != std::string::npos) return line.substr(line.find('/'));
  }
  return "";
}

// One test, because a process loads the library once.
TEST(CudaLibrary, IsLoadedWhereItIsUsefulOrAskedFor) {
  if (!has_nvidia_driver()) {
    EXPECT_THAT(load_cuda_library(), HasSubstr("libcuda.so.1"));
    EXPECT_THAT(count_gpus().why_no_more, HasSubstr("driver is not installed"));
    EXPECT_EQ(mapped("libtorch_cuda.so"), "");
    EXPECT_EQ(mapped("libcublas"), "");
    EXPECT_EQ(cuda_symbol(kGpuFunctions), nullptr);
    EXPECT_THROW(cuda_functions<GpuFunctions>(kGpuFunctions), core::InternalError);
  }
#ifdef SSGPT_HAS_CUDA_LIBRARY
  EXPECT_EQ(load_cuda_library(WithoutDriver::kLoad), "");
  EXPECT_EQ(load_cuda_library(WithoutDriver::kLoad), "");
  EXPECT_NE(mapped("libtorch_cuda.so"), "");
  EXPECT_TRUE(at::globalContext().hasCUDART());  // LibTorch has found its CUDA part
  EXPECT_EQ(cuda_functions<GpuFunctions>(kGpuFunctions).count_gpus().count, count_gpus().count);
  EXPECT_EQ(cuda_symbol("ssgpt_none"), nullptr);
  if (!has_nvidia_driver()) {
    EXPECT_THROW(describe_gpu(0), core::RunError);  // thrown in the library, caught by its type here
  }
  share_cuda_library();
  const std::string shared = std::getenv("SSGPT_CUDA_LIBRARY");
  EXPECT_TRUE(std::filesystem::equivalent(shared, mapped("libssgpt_cuda.so")));
  EXPECT_THAT(cuda_versions(),
              testing::MatchesRegex("CUDA +13\\.[0-9]+\ncuDNN +9\\.[0-9.]+\nNCCL +2\\.[0-9.]+\n"));
#else
  EXPECT_THAT(load_cuda_library(WithoutDriver::kLoad), HasSubstr("without libssgpt_cuda.so"));
  EXPECT_THAT(cuda_versions(), testing::StartsWith("CUDA      none: this program was built"));
#endif
}

}  // namespace
}  // namespace ssgpt::device
