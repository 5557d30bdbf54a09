// trainer/state.json as earlier versions wrote it.
#include "checkpoint/trainer_state.h"

#include "core/error.h"
#include "core/temporary_directory.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

config::Config small_config() {
  config::Config config;
  config.model = {.vocab_size = 64,
                  .hidden_size = 32,
                  .num_hidden_layers = 1,
                  .num_attention_heads = 2,
                  .intermediate_size = 48,
                  .attention = {}};
  config.data.train = {"train.bin"};
  config.train.max_steps = config.train.global_batch_size = config.train.micro_batch_size = 20;
  return config;
}

class EarlierState : public testing::Test {
 protected:
  TrainerState read(const nlohmann::json& swap) {
    const nlohmann::json json = {{"step", 17},
                                 {"tokens", 100},
                                 {"run_id", "id"},
                                 {"dtype", "float32"},
                                 {"data_fingerprint", "f"},
                                 {"loss_sum", 2.5},
                                 {"loss_steps", 7},
                                 {"smoothed_loss", 1.0},
                                 {"smoothed_weight", 0.5},
                                 {"manual_swap", swap},
                                 {"config", config::dump(small_config())}};
    std::ofstream(root_ / "state.json") << json;
    return read_trainer_state(root_ / "state.json");
  }

  const TemporaryDirectory root_;
};

TEST_F(EarlierState, TheLastLineLiesAsFarBackAsTheMetersCount) {
  EXPECT_EQ(read(nullptr).last_line_step, 10);
  EXPECT_EQ(read(nullptr).config, config::dump(small_config()));
}

TEST_F(EarlierState, ASwapByHandGoesIntoTheConfig) {
  const std::string text = read({{"at_step", 12}, {"kind", "ssmax_bias"}}).config;
  const config::Config config = config::parse(text, "state.json");
  const std::vector<config::SwapAttention> swaps = {
      {.at_step = 12, .kind = config::AttentionKind::kSsmaxBias}};
  EXPECT_EQ(config.train.swap_attention, swaps);
  for (const nlohmann::json& damaged : {nlohmann::json{{"at_step", 12}, {"kind", "max"}},
                                        nlohmann::json{{"at_step", "12"}, {"kind", "ssmax"}},
                                        nlohmann::json{{"kind", "ssmax"}}, nlohmann::json(12)}) {
    try {
      read(damaged);
      ADD_FAILURE() << damaged << " was taken";
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(),
                  testing::AllOf(testing::HasSubstr("state.json"), testing::HasSubstr("manual_swap")));
    }
  }
}

}  // namespace
}  // namespace ssgpt::checkpoint
