#include "device/large_pages.h"

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::device {
namespace {

constexpr int64_t kLargePage = int64_t{2} << 20;

// The system's flags of the mapping that holds an address, from its entry in smaps; "" if there is none.
std::string flags_of_mapping(uintptr_t address) {
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream head(line);
    if (head >> std::hex >> begin >> dash >> end && dash == '-') inside = begin <= address && address < end;
    if (inside && line.rfind("VmFlags:", 0) == 0) return line + " ";
  }
  return "";
}

bool system_has_large_pages() {
  return std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled").good();
}

TEST(HeldTensors, AskForLargePagesWhereTheyFillOne) {
  if (!system_has_large_pages()) GTEST_SKIP() << "this kernel knows no transparent huge pages";
  uintptr_t address = 0;
  {
    const at::Tensor tensor = zeros_held({3, kLargePage / 4}, at::kFloat);
    address = reinterpret_cast<uintptr_t>(tensor.data_ptr());
    EXPECT_EQ(address % kLargePage, 0U);
    EXPECT_THAT(flags_of_mapping(address), testing::HasSubstr(" hg "));
    EXPECT_THAT(flags_of_mapping(address + 3 * kLargePage - 1), testing::HasSubstr(" hg "));
    EXPECT_EQ(tensor.sizes(), at::IntArrayRef({3, kLargePage / 4}));
    EXPECT_TRUE(tensor.is_contiguous());
    EXPECT_EQ(tensor.count_nonzero().item<int64_t>(), 0);
  }
  EXPECT_EQ(flags_of_mapping(address), "") << "the memory is still there";
}

TEST(HeldTensors, TakeNoMoreThanTheirPages) {
  // A bf16 number beyond two large pages: one page of the system more.
  const at::Tensor tensor = empty_held({kLargePage + 1}, at::kBFloat16);
  const auto address = reinterpret_cast<uintptr_t>(tensor.data_ptr());
  EXPECT_EQ(address % kLargePage, 0U);
  EXPECT_NE(flags_of_mapping(address + 2 * kLargePage), "");
  EXPECT_THAT(flags_of_mapping(address + 3 * kLargePage), testing::Not(testing::HasSubstr(" hg ")));
}

TEST(HeldTensors, SmallOnesAreOrdinary) {
  const at::Tensor tensor = zeros_held({5}, at::kFloat);
  EXPECT_EQ(tensor.count_nonzero().item<int64_t>(), 0);
  EXPECT_EQ(empty_held({0, 7}, at::kFloat).numel(), 0);
}

TEST(HeldTensors, MemoryThatIsNotThereIsTheErrorOfATensor) {
  // More than the addresses that a process has; more bytes than an integer holds, which wrap to 2 MiB.
  for (const int64_t elements : {int64_t{1} << 48, (int64_t{1} << 62) + (int64_t{1} << 19)}) {
    EXPECT_THROW(empty_held({elements}, at::kFloat), c10::Error) << elements;
  }
}

}  // namespace
}  // namespace ssgpt::device
