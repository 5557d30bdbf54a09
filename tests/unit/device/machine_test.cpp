#include "device/machine.h"

#include <thread>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::device {
namespace {

// Beside what other interfaces of the system say.
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

}  // namespace
}  // namespace ssgpt::device
