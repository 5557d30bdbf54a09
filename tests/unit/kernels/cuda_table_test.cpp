// The table of CUDA kernels, which needs no GPU: every file of kernels fills its part.
#include "device/cuda_library.h"
#include "kernels/cuda/table.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

TEST(CudaTable, HasEveryKernel) {
  ASSERT_EQ(device::load_cuda_library(device::WithoutDriver::kLoad), "");
  // Pointers to functions and nothing else: a new one is seen here without being named.
  static_assert(std::is_trivially_copyable_v<Table>);
  std::array<uintptr_t, sizeof(Table) / sizeof(void (*)())> entries;
  static_assert(sizeof entries == sizeof(Table));
  std::memcpy(entries.data(), &table(), sizeof entries);
  for (size_t i = 0; i < entries.size(); ++i) EXPECT_NE(entries[i], 0u) << "entry " << i;
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
