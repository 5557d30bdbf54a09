#include "parallel/environment.h"

#include "core/error.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using testing::HasSubstr;

// Exactly these launcher variables, for its lifetime.
class Variables {
 public:
  explicit Variables(const std::vector<std::pair<std::string, std::string>>& values) {
    clear();
    for (const auto& [name, value] : values) setenv(name.c_str(), value.c_str(), /*overwrite=*/1);
  }
  ~Variables() { clear(); }
  Variables(const Variables&) = delete;
  Variables& operator=(const Variables&) = delete;

 private:
  static void clear() {
    for (const char* name : {"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_PROCID", "SLURM_NTASKS",
                             "SLURM_STEP_ID", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}) {
      unsetenv(name);
    }
  }
};

std::string message_of(const std::vector<std::pair<std::string, std::string>>& values) {
  const Variables variables(values);
  try {
    read_environment();
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Environment, IsOneProcessWithoutALauncher) {
  const Variables variables({});
  const Environment environment = read_environment();
  EXPECT_EQ(environment.rank, 0);
  EXPECT_EQ(environment.world_size, 1);
  EXPECT_FALSE(environment.elastic_agent);
}

TEST(Environment, KnowsTorchrun) {
  const Variables variables({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"TORCHELASTIC_RUN_ID", "none"}});
  EXPECT_TRUE(read_environment().elastic_agent);
}

TEST(Environment, TakesAnAllocationWithoutAStepForOneProcess) {
  // In an sbatch script the allocation's variables are set although srun started nothing.
  const Variables variables({{"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}});
  EXPECT_EQ(read_environment().world_size, 1);
}

TEST(Environment, RefusesSeveralProcessesOfEachLauncher) {
  EXPECT_THAT(message_of({{"RANK", "1"}, {"WORLD_SIZE", "2"}}), HasSubstr("2 processes"));
  EXPECT_THAT(message_of({{"SLURM_PROCID", "3"}, {"SLURM_NTASKS", "4"}, {"SLURM_STEP_ID", "0"}}),
              HasSubstr("4 processes"));
  EXPECT_THAT(message_of({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "3"}}),
              HasSubstr("3 processes"));
}

TEST(Environment, NamesWhatIsMissingOrWrong) {
  EXPECT_THAT(message_of({{"RANK", "0"}}), HasSubstr("WORLD_SIZE is not set"));
  EXPECT_THAT(message_of({{"WORLD_SIZE", "1"}}), HasSubstr("RANK is not set"));
  EXPECT_THAT(message_of({{"RANK", "one"}, {"WORLD_SIZE", "1"}}), HasSubstr("RANK=one"));
  EXPECT_THAT(message_of({{"RANK", "-1"}, {"WORLD_SIZE", "1"}}), HasSubstr("RANK=-1"));
  EXPECT_THAT(message_of({{"RANK", "1"}, {"WORLD_SIZE", "1"}}), HasSubstr("contradict"));
}

}  // namespace
}  // namespace ssgpt::parallel
