#include "core/error.h"
#include "parallel/environment.h"
#include "parallel/launcher_variables.h"

#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string gpu_message(const Environment& environment, int64_t num_gpus) {
  try {
    choose_gpu(environment, num_gpus);
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ChooseGpu, IsTheLocalRank) {
  Environment environment;
  EXPECT_EQ(choose_gpu(environment, 1), 0);
  environment.rank = 11;
  environment.world_size = 16;
  environment.local_rank = 3;
  EXPECT_EQ(choose_gpu(environment, 4), 3);
  environment.local_world_size = 8;
  EXPECT_EQ(choose_gpu(environment, 8), 3);
}

TEST(ChooseGpu, RefusesToShareAGpu) {
  Environment environment;
  environment.rank = 12;
  environment.world_size = 16;
  environment.local_rank = 4;
  EXPECT_THAT(gpu_message(environment, 4),
              AllOf(HasSubstr("Rank 12"), HasSubstr("local rank 4"), HasSubstr("sees 4 GPUs"),
                    HasSubstr("--nproc-per-node"), HasSubstr("--ntasks-per-node"),
                    HasSubstr("CUDA_VISIBLE_DEVICES")));
  // Every process of the machine says so, also those that would have one.
  environment.local_rank = 0;
  environment.local_world_size = 8;
  EXPECT_THAT(gpu_message(environment, 1), AllOf(HasSubstr("local rank 0 of 8"), HasSubstr("sees 1 GPU:")));
  environment.local_world_size = 1;
  EXPECT_THAT(gpu_message(environment, 0), HasSubstr("sees 0 GPUs"));
}

TEST(ChooseNumThreads, IsWhatTheUserSays) {
  Environment environment;
  environment.local_world_size = 4;
  const auto with = [&](const char* value) {
    const Variables variables(Values{{"OMP_NUM_THREADS", value}});
    return choose_num_threads(environment, /*allowed_cores=*/16, /*machine_cores=*/16);
  };
  EXPECT_EQ(with("1"), 1);
  EXPECT_EQ(with("32"), 32);
  EXPECT_EQ(with("3,2"), 3);  // OpenMP's list: one number a level of nesting
  for (const char* wrong : {"", "0", "-2", "many", "2.5", "4 threads", "99999999999"})
    EXPECT_EQ(with(wrong), 4);
}

TEST(ChooseNumThreads, IsAnEvenShareOfTheMachine) {
  const Variables variables(Values{});
  Environment environment;
  EXPECT_EQ(choose_num_threads(environment, 16, 16), 16);
  for (const Launcher launcher : {Launcher::kTorchrun, Launcher::kOpenMpi, Launcher::kSlurm}) {
    environment.launcher = launcher;
    environment.local_world_size = 5;
    EXPECT_EQ(choose_num_threads(environment, 16, 16), 3);
    environment.local_world_size = 20;
    EXPECT_EQ(choose_num_threads(environment, 16, 16), 1);
    environment.local_world_size = std::nullopt;
    EXPECT_EQ(choose_num_threads(environment, 16, 16), 16);
  }
}

TEST(ChooseNumThreads, IsWhatALauncherBoundTheProcessTo) {
  const Variables variables(Values{});
  Environment environment;
  environment.local_world_size = 4;
  for (const Launcher launcher : {Launcher::kOpenMpi, Launcher::kSlurm}) {
    environment.launcher = launcher;
    EXPECT_EQ(choose_num_threads(environment, 6, 64), 6);
  }
  // torchrun binds nothing: the mask is a container's, which all processes share.
  environment.launcher = Launcher::kTorchrun;
  EXPECT_EQ(choose_num_threads(environment, 8, 64), 2);
  environment.launcher = Launcher::kNone;
  environment.local_world_size = std::nullopt;
  EXPECT_EQ(choose_num_threads(environment, 8, 64), 8);
}

}  // namespace
}  // namespace ssgpt::parallel
