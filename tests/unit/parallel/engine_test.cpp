// How the engine of the collectives is set.
#include "parallel/engine.h"

#include "parallel/ranks.h"

#include <cstdlib>

#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/csrc/distributed/c10d/FlightRecorder.hpp>

namespace ssgpt::parallel {
namespace {

// The record takes in a process group without its lock, and ranks here are threads with a group each.
TEST(ConfigureEngine, KeepsNoRecordOfCollectives) {
  EXPECT_EQ(run_ranks(2,
                      [](Communicator& communicator) {
                        communicator.collectives().start_all_reduce(at::ones({4})).wait();
                      }),
            nothing_thrown(2));
  const auto record =
      nlohmann::json::parse(c10d::dump_fr_trace_json(/*includeCollectives=*/true, /*onlyActive=*/false));
  EXPECT_TRUE(record.contains("pg_config"));
  EXPECT_THAT(record.value("entries", nlohmann::json::array()), testing::IsEmpty());
}

TEST(ConfigureEngine, KeepsDumpsAndStacksOff) {
  configure_engine();
  EXPECT_STREQ(std::getenv("TORCH_NCCL_DUMP_ON_TIMEOUT"), "0");
  EXPECT_STREQ(std::getenv("TORCH_NCCL_LOG_CPP_STACK_ON_UNCLEAN_SHUTDOWN"), "0");
}

}  // namespace
}  // namespace ssgpt::parallel
