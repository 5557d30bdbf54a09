#include "sweep/placement.h"

#include "core/error.h"

#include <cstdlib>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::sweep {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Machine cpu(int64_t cores, std::optional<int64_t> threads = std::nullopt) {
  return {.cores = cores, .gpus = {}, .threads = threads};
}

TEST(Place, AutoFillsTheCoresWithOneThreadEach) {
  const Placement placement = place(cpu(4), /*runs=*/10, std::nullopt);
  EXPECT_EQ(placement.jobs, 4);
  EXPECT_EQ(placement.threads, 1);
  EXPECT_EQ(placement.warning, "");
  EXPECT_THAT(placement.gpus, IsEmpty());
}

TEST(Place, FewerRunsThanCoresShareThemOut) {
  EXPECT_EQ(place(cpu(8), 3, std::nullopt).jobs, 3);
  EXPECT_EQ(place(cpu(8), 3, std::nullopt).threads, 2);
  EXPECT_EQ(place(cpu(8), 10, 2).threads, 4);
  EXPECT_EQ(place(cpu(8), 1, 5).jobs, 1);
}

TEST(Place, OmpNumThreadsIsWhatARunGets) {
  EXPECT_EQ(place(cpu(8, 2), 10, std::nullopt).jobs, 4);
  EXPECT_EQ(place(cpu(8, 2), 10, std::nullopt).threads, 2);
  EXPECT_EQ(place(cpu(2, 6), 10, std::nullopt).jobs, 1);
  EXPECT_THAT(place(cpu(2, 6), 10, std::nullopt).warning,
              HasSubstr("6 threads for 2 cores (1 run at a time, 6 threads each)"));
}

TEST(Place, MoreJobsThanCoresAreAWarning) {
  const Placement placement = place(cpu(2), 10, 4);
  EXPECT_EQ(placement.jobs, 4);
  EXPECT_EQ(placement.threads, 1);
  EXPECT_THAT(placement.warning, HasSubstr("4 threads for 2 cores (4 runs at a time, 1 thread each)"));
}

TEST(Place, EachRunHasAGpuOfItsOwn) {
  const Machine machine{.cores = 16, .gpus = {"2", "GPU-5f", "7"}, .threads = std::nullopt};
  EXPECT_THAT(place(machine, 10, std::nullopt).gpus, ElementsAre("2", "GPU-5f", "7"));
  EXPECT_EQ(place(machine, 10, std::nullopt).threads, 5);
  EXPECT_THAT(place(machine, 10, 2).gpus, ElementsAre("2", "GPU-5f"));
  EXPECT_THAT(place(machine, 1, std::nullopt).gpus, ElementsAre("2"));
  EXPECT_THROW(place(machine, 10, 4), core::UsageError);
}

TEST(ThisMachine, NamesGpusAsTheEnvironmentDoes) {
  ::setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f", 1);
  EXPECT_THAT(this_machine(2).gpus, ElementsAre("3", "GPU-5f"));
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_THAT(this_machine(2).gpus, ElementsAre("0", "1"));
  EXPECT_GE(this_machine(0).cores, 1);
}

}  // namespace
}  // namespace ssgpt::sweep
