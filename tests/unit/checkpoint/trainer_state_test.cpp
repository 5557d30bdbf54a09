// trainer/state.json as earlier versions wrote it, and as none did.
#include "checkpoint/trainer_state.h"

#include "config/minimal_config.h"
#include "core/error.h"
#include "core/temporary_directory.h"

#include <fstream>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

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
                                 {"config", config::dump(config::minimal_with({}))}};
    std::ofstream(root_ / "state.json") << json;
    return read_trainer_state(root_ / "state.json");
  }

  const TemporaryDirectory root_;
};

TEST_F(EarlierState, DoesNotSayWhereTheLastLineWas) {
  EXPECT_EQ(read(nullptr).last_line_step, std::nullopt);
  EXPECT_EQ(read(nullptr).tokenizer_fingerprint, "");
  EXPECT_EQ(read(nullptr).directory, "");
  EXPECT_EQ(read(nullptr).steps_per_epoch, 0);
  EXPECT_EQ(read(nullptr).products, std::nullopt);
  EXPECT_EQ(read(nullptr).beginning, std::nullopt);
  EXPECT_EQ(read(nullptr).config, config::dump(config::minimal_with({})));
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

TEST(TrainerState, RefusesCountsThatNoTrainingHas) {
  const TemporaryDirectory root;
  TrainerState state;
  state.config = config::dump(config::minimal_with({}));
  const nlohmann::json sound = nlohmann::json::parse(trainer_state_text(state));
  for (const char* key : {"step", "tokens", "loss_steps", "steps_per_epoch"}) {
    for (const int64_t count : {int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
      nlohmann::json damaged = sound;
      damaged[key] = count;
      std::ofstream(root / "state.json") << damaged;
      try {
        read_trainer_state(root / "state.json");
        ADD_FAILURE() << key << " " << count << " was taken";
      } catch (const core::InputError& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr(key));
      }
    }
  }
}

TEST(TrainerState, TellsWhereItsRunBegan) {
  const TemporaryDirectory root;
  TrainerState state;
  state.config = config::dump(config::minimal_with({}));
  const auto written = [&] {
    std::ofstream(root / "state.json") << trainer_state_text(state);
    return read_trainer_state(root / "state.json").beginning;
  };
  EXPECT_EQ(written(), std::nullopt);
  state.beginning = run::Beginning{};
  EXPECT_EQ(written(), state.beginning);
  state.beginning = run::Beginning{.first_step = 20,
                                   .parent = "/runs/a/checkpoints/step-00000020",
                                   .ancestors = {{.checkpoint = "/runs/a/checkpoints/step-00000020",
                                                  .run_id = "id",
                                                  .step = 20,
                                                  .config = "run: {seed: 3}",
                                                  .data_fingerprint = "g",
                                                  .tokenizer_fingerprint = "u"}}};
  EXPECT_EQ(written(), state.beginning);
}

TEST(TrainerState, HoldsTheChoicesOfProductsOrRefusesThem) {
  const TemporaryDirectory root;
  TrainerState state;
  state.config = config::dump(config::minimal_with({}));
  const kernels::ProductShape shape{
      .m = 8, .n = 9, .k = 10, .a_alignment = 64, .b_alignment = 4, .out_alignment = 64};
  state.products = kernels::ProductChoices{.library = {.version = "a library", .gpu = "a GPU"},
                                           .workspace_bytes = 5,
                                           .algorithms = {{shape, {1, 2, 3, 4, 5, 6, 7, 8}}}};
  const std::string text = trainer_state_text(state);
  std::ofstream(root / "state.json") << text;
  EXPECT_EQ(read_trainer_state(root / "state.json").products, state.products);
  nlohmann::json damaged = nlohmann::json::parse(text);
  damaged["products"]["shapes"][0]["algorithm"] = "12";
  std::ofstream(root / "state.json") << damaged;
  try {
    read_trainer_state(root / "state.json");
    ADD_FAILURE() << "taken";
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("state.json"),
                                             testing::HasSubstr("'products.shapes[0].algorithm'")));
  }
}

}  // namespace
}  // namespace ssgpt::checkpoint
