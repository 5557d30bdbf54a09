#include "device/large_pages.h"

#include "core/error.h"

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::device {
namespace {

constexpr int64_t kLargePage = int64_t{2} << 20;

// What the system says of the mapping that holds an address: the flags of its entry in smaps, "" where there
// is none.
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

TEST(HeldTensors, AskForLargePagesWhereTheyFillOne) {
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

TEST(HeldTensors, MemoryThatIsNotThereIsARunsError) {
  EXPECT_THROW(empty_held({int64_t{1} << 55}, at::kFloat), core::RunError);
}

}  // namespace
}  // namespace ssgpt::device
