#include "device/machine.h"

#include <fstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::device {
namespace {

// Compared with other interfaces of the system.
TEST(ThisMachine, IsTheOneThatTheSystemDescribes) {
  char host[256];
  ASSERT_EQ(gethostname(host, sizeof host), 0);
  at::set_num_threads(3);
  const Machine machine = this_machine(GpuDescription{.index = 0, .name = "a GPU"});
  EXPECT_EQ(machine.host, host);
  EXPECT_THAT(machine.system, testing::StartsWith("Linux "));
  EXPECT_FALSE(machine.cpu.empty());
  EXPECT_FALSE(machine.cpu_capability.empty());
  EXPECT_EQ(machine.threads, 3);
  const auto memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  EXPECT_NEAR(static_cast<double>(machine.memory_bytes), memory,
              0.01 * memory);  // both count the whole memory
  EXPECT_EQ(machine.gpu->name, "a GPU");
  EXPECT_FALSE(this_machine(std::nullopt).gpu.has_value());
}

// Compared with the flags that the kernel reads from CPUID by itself.
TEST(Bf16Instructions, AreThoseThatTheKernelLists) {
  const auto sets = bf16_instructions();
  if (!sets) GTEST_SKIP() << "not known on this architecture";
  std::ifstream info("/proc/cpuinfo");
  std::vector<std::string> expected;
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("flags")) continue;
    line += ' ';
    if (line.find(" amx_bf16 ") != std::string::npos) expected.emplace_back("AMX-BF16");
    if (line.find(" avx512_bf16 ") != std::string::npos) expected.emplace_back("AVX512-BF16");
    break;
  }
  EXPECT_EQ(*sets, expected);
}

}  // namespace
}  // namespace ssgpt::device
