#include "config/config.h"
#include "config/sweep_file.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::config {
namespace {

const std::filesystem::path kConfigs = std::filesystem::path(SSGPT_SOURCE_DIR) / "configs";

TEST(ConfigFiles, AllOfThemLoad) {
  const std::set<std::string> of_a_reproduction = {"plan", "stages",
                                                   "claims"};  // read by scripts/reproduce.py
  int configs = 0;
  int sweeps = 0;
  for (const auto& item : std::filesystem::recursive_directory_iterator(kConfigs)) {
    const std::string extension = item.path().extension().string();
    const std::string stem = item.path().stem().string();
    if (extension != ".yaml" && extension != ".json") continue;
    if (of_a_reproduction.contains(stem)) continue;
    if (stem == "sweep") {
      ++sweeps;
      EXPECT_NO_THROW(load_sweep(item.path())) << item.path();
    } else {
      ++configs;
      EXPECT_NO_THROW(load(item.path(), {})) << item.path();
    }
  }
  EXPECT_GE(configs, 7);  // configs/paper alone
  EXPECT_GE(sweeps, 5);   // of the quickstart, copying, and keys and values
}

// It includes a file for the model, from which it keeps the sizes, but not the length of pretraining.
TEST(ConfigFiles, FineTuningCountsInEpochsAndHasThePapersModel) {
  const Config pretraining = load(kConfigs / "paper" / "b-ssmax.yaml", {});
  const Config tuning = load(kConfigs / "paper" / "fine-tune.yaml", {});
  EXPECT_EQ(tuning.train.epochs, 10);
  EXPECT_EQ(tuning.train.max_steps, 0);
  EXPECT_EQ(tuning.optimizer.schedule.warmup_epochs, 1);
  EXPECT_EQ(tuning.optimizer.schedule.warmup_steps, 0);
  for (const Difference& difference : differences(pretraining, tuning)) {
    EXPECT_FALSE(difference.key.starts_with("model.")) << difference.key;
  }
}

TEST(ConfigFiles, TheQuickstartsSweepTrainsSsmaxAndItsControlWithEqualSeeds) {
  const Sweep sweep = load_sweep(kConfigs / "quickstart" / "sweep.yaml");
  EXPECT_EQ(sweep.variants.front(), "softmax");  // the baseline
  std::map<AttentionKind, std::set<uint64_t>> seeds;
  for (const SweepRun& run : sweep.runs) seeds[run.config.model.attention.kind].insert(run.seed);
  const std::set<uint64_t> of_softmax = seeds[AttentionKind::kSoftmax];
  EXPECT_GE(of_softmax.size(), 4U);
  EXPECT_EQ(seeds,
            (std::map<AttentionKind, std::set<uint64_t>>{{AttentionKind::kSoftmax, of_softmax},
                                                         {AttentionKind::kSoftmaxTemperature, of_softmax},
                                                         {AttentionKind::kSsmax, of_softmax}}));
}

TEST(ConfigFiles, TheCopyingSweepTrainsEachVariantWithSixSeeds) {
  const Sweep sweep = load_sweep(kConfigs / "copying" / "sweep.yaml");
  EXPECT_EQ(sweep.variants, (std::vector<std::string>{"softmax", "softmax_temperature", "ssmax",
                                                      "ssmax_fixed", "ssmax_bias", "swap"}));
  EXPECT_EQ(sweep.runs.size(), 36U);
  for (const SweepRun& run : sweep.runs) {
    // At seven eighths, as in the paper's (f).
    const std::vector<SwapAttention> swaps = {
        {.at_step = run.config.train.max_steps * 7 / 8, .kind = AttentionKind::kSsmax}};
    EXPECT_EQ(run.config.train.swap_attention, run.variant == "swap" ? swaps : std::vector<SwapAttention>())
        << run.name;
    const std::string kind = run.variant == "swap" ? "softmax" : run.variant;
    EXPECT_EQ(to_string(run.config.model.attention.kind), kind) << run.name;
  }
}

TEST(ConfigFiles, TheQuickstartsCopyingSweepHasRunsOfTheLargerOne) {
  const Sweep small = load_sweep(kConfigs / "quickstart" / "copying" / "sweep.yaml");
  const Sweep large = load_sweep(kConfigs / "copying" / "sweep.yaml");
  EXPECT_EQ(small.variants, (std::vector<std::string>{"softmax", "ssmax"}));
  EXPECT_EQ(small.runs.size(), 8U);  // three seeds are the fewest that carry a verdict
  for (const SweepRun& run : small.runs) {
    const auto same = std::find_if(large.runs.begin(), large.runs.end(), [&](const SweepRun& other) {
      return other.variant == run.variant && other.seed == run.seed;
    });
    ASSERT_NE(same, large.runs.end()) << run.name;
    EXPECT_EQ(dump(same->config), dump(run.config)) << run.name;
  }
}

TEST(ConfigFiles, OfThePaperDifferInTheAttentionAlone) {
  const Config softmax = load(kConfigs / "paper" / "a-softmax.yaml", {});
  const std::map<std::string, AttentionKind> kinds = {{"b-ssmax", AttentionKind::kSsmax},
                                                      {"c-ssmax-fixed", AttentionKind::kSsmaxFixed},
                                                      {"d-ssmax-bias", AttentionKind::kSsmaxBias},
                                                      {"e-softmax-then-ssmax", AttentionKind::kSoftmax},
                                                      {"f-swap-to-ssmax", AttentionKind::kSoftmax}};
  for (const auto& [name, kind] : kinds) {
    const Config config = load(kConfigs / "paper" / (name + ".yaml"), {});
    EXPECT_EQ(config.model.attention.kind, kind) << name;
    for (const Difference& difference : differences(softmax, config)) {
      EXPECT_TRUE(difference.key == "run.name" || difference.key == "model.attention.kind" ||
                  (name == "f-swap-to-ssmax" && difference.key == "train.swap_attention"))
          << name << " differs in " << difference.key;
    }
  }
  const Config swapped = load(kConfigs / "paper" / "f-swap-to-ssmax.yaml", {});
  const std::vector<SwapAttention> swaps = {{.at_step = 175'000, .kind = AttentionKind::kSsmax}};
  EXPECT_EQ(swapped.train.swap_attention, swaps);
}

TEST(ConfigFiles, OfThePaperWithTheOtherReadingOfTheStartDifferInItAlone) {
  for (const std::string name : {"b-ssmax", "d-ssmax-bias"}) {
    const Config one = load(kConfigs / "paper" / (name + ".yaml"), {});
    const Config other = load(kConfigs / "paper" / (name + "-scale-1.yaml"), {});
    EXPECT_NEAR(resolved_scale_init(one.model.attention, one.data.sequence_length), 0.168, 5e-4) << name;
    EXPECT_EQ(other.model.attention.scale_init, 1.0) << name;
    std::vector<std::string> keys;
    for (const Difference& difference : differences(one, other)) keys.push_back(difference.key);
    EXPECT_EQ(keys, (std::vector<std::string>{"run.name", "model.attention.scale_init"})) << name;
  }
}

}  // namespace
}  // namespace ssgpt::config
