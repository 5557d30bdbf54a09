#include "start/rules.h"

#include "core/error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::start {
namespace {

using enum config::AttentionKind;
using config::AttentionKind;
using Swaps = std::vector<config::SwapAttention>;

config::Config config_of(AttentionKind kind, Swaps swaps) {
  config::Config config;
  config.model.attention.kind = kind;
  config.train.swap_attention = std::move(swaps);
  config.train.max_steps = 100;
  return config;
}

// A run of softmax, with these swaps, at step 20.
Past past_of(Swaps swaps, AttentionKind held) {
  return {.checkpoint = "run/checkpoints/step-00000020",
          .step = 20,
          .config = config_of(kSoftmax, std::move(swaps)),
          .held = held};
}

Swaps settled(config::Config config, const Past& past, std::optional<AttentionKind> by_hand = std::nullopt) {
  settle_swaps(config, past, by_hand);
  EXPECT_EQ(config.model.attention.kind, past.config.model.attention.kind);
  EXPECT_EQ(config::attention_kind(config, past.step), config::attention_kind(past.config, past.step));
  return config.train.swap_attention;
}

std::string refusal(const config::Config& config, const Past& past,
                    std::optional<AttentionKind> by_hand = std::nullopt) {
  config::Config copy = config;
  try {
    settle_swaps(copy, past, by_hand);
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(SettleSwaps, WhatLiesAheadIsAsTheConfigAsksNow) {
  const config::Config asked = config_of(kSoftmax, {{30, kSsmax}, {40, kSsmaxBias}});
  EXPECT_EQ(settled(asked, past_of({{25, kLearnedPn}}, kSoftmax)), asked.train.swap_attention);
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past_of({{25, kLearnedPn}}, kSoftmax)), Swaps());
  EXPECT_EQ(settled(config_of(kSoftmax, {{20, kSsmax}}), past_of({}, kSoftmax)), (Swaps{{20, kSsmax}}));
}

// The checkpoint's config has a swap by hand that the user's file does not know of.
TEST(SettleSwaps, WhatLiesBehindStaysAsItHappened) {
  const Past past = past_of({{10, kSsmax}, {15, kSsmaxBias}}, kSsmaxBias);
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past), past.config.train.swap_attention);
  EXPECT_EQ(settled(config_of(kSoftmax, {{10, kSsmax}}), past), past.config.train.swap_attention);
  EXPECT_EQ(settled(config_of(kSoftmax, {{10, kSsmax}, {30, kSsmaxFixed}}), past),
            (Swaps{{10, kSsmax}, {15, kSsmaxBias}, {30, kSsmaxFixed}}));
  EXPECT_EQ(settled(config_of(kSsmaxBias, {}), past), past.config.train.swap_attention);
  EXPECT_THAT(refusal(config_of(kSsmaxFixed, {}), past), testing::HasSubstr("asks for ssmax_fixed there"));
}

TEST(SettleSwaps, ASwapByHandComesNowAndGoesBeforeOneThatIsScheduledThere) {
  EXPECT_EQ(settled(config_of(kSoftmax, {{30, kSsmax}}), past_of({}, kSoftmax), kSsmaxBias),
            (Swaps{{20, kSsmaxBias}, {30, kSsmax}}));
  EXPECT_EQ(settled(config_of(kSoftmax, {{20, kSsmax}}), past_of({}, kSoftmax), kSsmaxBias),
            (Swaps{{20, kSsmaxBias}}));
  // The scheduled swap, to the same kind, has no effect any more.
  EXPECT_EQ(settled(config_of(kSoftmax, {{30, kSsmax}}), past_of({}, kSoftmax), kSsmax),
            (Swaps{{20, kSsmax}}));
  // The user's file already asks for what the flag brings about.
  EXPECT_EQ(settled(config_of(kSsmax, {}), past_of({}, kSoftmax), kSsmax), (Swaps{{20, kSsmax}}));
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past_of({{15, kSsmax}}, kSsmax), kSsmax), (Swaps{{15, kSsmax}}));
}

// A conversion, and the first checkpoint of a fork, hold the kind of the swap at their own step.
TEST(SettleSwaps, ASwapAtTheStepOfTheCheckpointIsBehindItWhereItHoldsThatKind) {
  const Swaps swaps = {{20, kSsmax}};
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past_of(swaps, kSsmax)), swaps);
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past_of(swaps, kSoftmax)), Swaps());
  EXPECT_EQ(settled(config_of(kSoftmax, swaps), past_of(swaps, kSoftmax)), swaps);
  // One that the user's file schedules for that step was overruled then, and stays so.
  EXPECT_EQ(settled(config_of(kSoftmax, {{20, kSsmaxBias}}), past_of(swaps, kSsmax)), swaps);
}

// A process was killed before it saved, or what it saved is damaged.
TEST(SettleSwaps, ASwapThatTheRunHadMadeAlreadyIsMadeAgainUnlessItIsTakenBack) {
  Past past = past_of({}, kSoftmax);
  past.lost = {{20, kSsmax}};
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past), (Swaps{{20, kSsmax}}));
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past, kSsmaxFixed), (Swaps{{20, kSsmaxFixed}}));
  EXPECT_EQ(settled(config_of(kSoftmax, {}), past, kSoftmax), Swaps());
  past.lost = {{24, kSsmax}};
  EXPECT_EQ(settled(config_of(kSoftmax, {{30, kSsmaxBias}}), past), (Swaps{{24, kSsmax}, {30, kSsmaxBias}}));
}

TEST(SettleSwaps, AnotherKindForWhatLiesBehindIsRefused) {
  EXPECT_THAT(
      refusal(config_of(kSsmax, {}), past_of({}, kSoftmax)),
      testing::HasSubstr("The checkpoint at step 20 has attention kind softmax, and the config asks for "
                         "ssmax there"));
  EXPECT_THAT(refusal(config_of(kSoftmax, {{10, kSsmax}}), past_of({}, kSoftmax)),
              testing::AllOf(testing::HasSubstr("asks for ssmax after step 10, which is past"),
                             testing::HasSubstr("--swap-attention ssmax")));
  EXPECT_THAT(refusal(config_of(kSsmax, {}), past_of({}, kSoftmax), kSoftmax), testing::HasSubstr("step 20"));
}

TEST(RefuseIdleSwaps, NamesThoseThatWouldNeverCome) {
  const auto message = [](const Swaps& swaps, int64_t first_step) -> std::string {
    try {
      refuse_idle_swaps(config_of(kSoftmax, swaps), first_step);
    } catch (const core::UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({{1, kSsmax}, {99, kSoftmax}}, 0), "");
  EXPECT_THAT(message({{100, kSsmax}}, 0),
              testing::HasSubstr("at_step 100 must be below train.max_steps = 100"));
  EXPECT_THAT(message({{0, kSsmax}}, 0), testing::HasSubstr("model.attention.kind=ssmax"));
  EXPECT_EQ(message({{100, kSsmax}}, 101), "");  // it lies behind
}

using Earlier = std::vector<config::EarlierSchedule>;

// At step 20; warm-up to 10 in a cosine, and in wsd a decay of 30 steps.
Past scheduled(config::ScheduleKind kind, int64_t total_steps, Earlier earlier = {}) {
  Past past = past_of({}, kSoftmax);
  past.config.optimizer.schedule = {.kind = kind,
                                    .warmup_steps = 10,
                                    .decay_steps = kind == config::ScheduleKind::kWsd ? 30 : 0,
                                    .min_lr = 1e-5,
                                    .total_steps = total_steps,
                                    .earlier_total_steps = std::move(earlier)};
  return past;
}

// The schedule after a resume that gives `total_steps`, or does not.
config::ScheduleConfig rescheduled(const Past& past, std::optional<int64_t> total_steps) {
  config::Config config = past.config;
  config.train.max_steps = 500;
  config.optimizer.schedule.total_steps = total_steps;
  config.optimizer.schedule.earlier_total_steps = {};  // what a user's file knows of them
  settle_schedule(config, past);
  return config.optimizer.schedule;
}

TEST(SettleSchedule, StaysAsItWasUnlessTheConfigNamesAnotherEnd) {
  using enum config::ScheduleKind;
  for (const auto kind : {kCosine, kWsd}) {
    for (const Earlier& earlier : {Earlier{}, Earlier{{15, 70}}}) {
      const Past past = scheduled(kind, 40, earlier);
      for (const auto& same : {std::optional<int64_t>(), std::optional<int64_t>(40)}) {
        EXPECT_EQ(rescheduled(past, same).total_steps, 40);
        EXPECT_EQ(rescheduled(past, same).earlier_total_steps, earlier);
      }
      EXPECT_EQ(rescheduled(past, 90).total_steps, 90);
      Earlier longer = earlier;
      longer.push_back({20, 40});
      EXPECT_EQ(rescheduled(past, 90).earlier_total_steps, longer);
    }
  }
  Past constant = past_of({}, kSoftmax);
  EXPECT_EQ(rescheduled(constant, std::nullopt).total_steps, std::nullopt);
}

// The rates behind are those of a run that had the new end from its beginning.
TEST(SettleSchedule, AnEndThatHasShapedNoStepYetLeavesNoTrace) {
  using enum config::ScheduleKind;
  EXPECT_EQ(rescheduled(scheduled(kWsd, 50), 200).earlier_total_steps, Earlier());  // stable up to step 20
  EXPECT_EQ(rescheduled(scheduled(kWsd, 49), 200).earlier_total_steps, (Earlier{{20, 49}}));
  Past early = scheduled(kCosine, 50);
  early.step = 10;  // the end of the warm-up
  EXPECT_EQ(rescheduled(early, 200).earlier_total_steps, Earlier());
  // Changed at this very step before, and no update since.
  EXPECT_EQ(rescheduled(scheduled(kCosine, 90, {{20, 40}}), 100).earlier_total_steps, (Earlier{{20, 40}}));
  EXPECT_EQ(rescheduled(scheduled(kCosine, 90, {{20, 40}}), 40).earlier_total_steps, Earlier());
}

// A session changed it, and was killed before its first checkpoint.
TEST(SettleSchedule, AnEndThatTheRunHadAlreadyHoldsUnlessTheConfigNamesOne) {
  Past past = scheduled(config::ScheduleKind::kCosine, 40);
  past.lost_total_steps = 90;
  EXPECT_EQ(rescheduled(past, std::nullopt).total_steps, 90);
  EXPECT_EQ(rescheduled(past, std::nullopt).earlier_total_steps, (Earlier{{20, 40}}));
  EXPECT_EQ(rescheduled(past, 40).total_steps, 40);
  EXPECT_EQ(rescheduled(past, 40).earlier_total_steps, Earlier());
}

TEST(RefuseFixedDifferences, WhereTheDataLieMayChangeNotWhetherTheyAreNamed) {
  const auto refused = [](bool knows_tokenizer, const char* before, const char* now) {
    Past past = past_of({}, kSoftmax);
    past.knows_tokenizer = knows_tokenizer;
    past.config.data.train = {"data/*.bin"};
    config::Config config = past.config;
    config.data.train = {"moved/a.bin", "moved/b.bin"};
    if (*before != '\0') past.config.data.tokenizer = before;
    if (*now != '\0') config.data.tokenizer = now;
    try {
      refuse_fixed_differences(config, past);
    } catch (const core::UsageError& error) {
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("data.tokenizer"),
                                               testing::Not(testing::HasSubstr("data.train"))));
      return true;
    }
    return false;
  };
  EXPECT_FALSE(refused(true, "t.model", "t.model"));
  EXPECT_FALSE(refused(true, "t.model", "moved/t.model"));
  EXPECT_TRUE(refused(false, "t.model", "moved/t.model"));
  EXPECT_TRUE(refused(true, "t.model", ""));
  EXPECT_TRUE(refused(true, "", "moved/t.model"));
}

TEST(RefuseFixedDifferences, WhatOneKindReadsMayChangeBeforeTheRunHasIt) {
  const auto refused = [](const Swaps& before) {
    const Past past = past_of(before, kSoftmax);
    config::Config config = config_of(kSoftmax, {{30, config::AttentionKind::kLlama4Temperature}});
    config.model.attention.attn_scale = 0.5;
    config.model.attention.floor_scale = 64;
    try {
      refuse_fixed_differences(config, past);
    } catch (const core::UsageError& error) {
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("model.attention.attn_scale: auto"),
                                               testing::HasSubstr("model.attention.floor_scale: auto")));
      return true;
    }
    return false;
  };
  EXPECT_FALSE(refused({}));
  EXPECT_TRUE(refused({{10, config::AttentionKind::kLlama4Temperature}}));
}

TEST(RefuseFixedDifferences, HowNewParametersStartMayChangeWhereASwapMakesSome) {
  const auto refused = [](const Swaps& swaps, const char* key) {
    config::Config config = config_of(kSoftmax, swaps);
    if (std::string(key) == "scale") config.model.attention.scale_init = 0.5;
    if (std::string(key) == "lr") config.optimizer.lr = 1.0;
    try {
      refuse_fixed_differences(config, past_of({}, kSoftmax));
    } catch (const core::UsageError&) {
      return true;
    }
    return false;
  };
  EXPECT_TRUE(refused({}, "scale"));
  EXPECT_FALSE(refused({{20, kSsmax}}, "scale"));
  EXPECT_FALSE(refused({{30, kSsmax}}, "scale"));
  EXPECT_TRUE(refused({{30, kSsmax}}, "lr"));
  EXPECT_FALSE(refused({{30, kSsmax}}, ""));
}

// A model that was trained in windows of 1,024 as Llama 4, with its a and f, whose weights a run takes.
TEST(RefuseOtherModel, WarnsWhereTheRowScaleOfAKindBecomesAnotherFunction) {
  const auto warning = [](AttentionKind kind, int64_t length, std::optional<double> attn_scale) {
    config::Config wanted = config_of(kind, {});
    wanted.data.sequence_length = length;
    wanted.model.attention.attn_scale = attn_scale;
    model::GPTSpec held{.config = wanted.model, .sequence_length = 1024, .document_token_id = {}};
    held.config.attention.attn_scale = std::nullopt;
    testing::internal::CaptureStderr();
    refuse_other_model(held, wanted, "c");
    return testing::internal::GetCapturedStderr();
  };
  for (const config::AttentionKindRow& row : config::attention_kinds()) {
    const AttentionKind kind = config::kind_of(row);
    EXPECT_EQ(warning(kind, 1024, std::nullopt), "") << row.name;
    if (row.learns_position) continue;  // its entries are as many as a window has tokens
    const bool depends = kind == AttentionKind::kLognClamped;
    EXPECT_EQ(warning(kind, 2048, std::nullopt).empty(), !depends) << row.name;
  }
  EXPECT_THAT(warning(AttentionKind::kLognClamped, 2048, std::nullopt),
              testing::HasSubstr("c was trained with the row scale max(1, log n / log T) of sequence_length "
                                 "1024, attn_scale 0.1 and floor_scale 8192; this run continues with that of "
                                 "sequence_length 2048"));
  EXPECT_THAT(warning(AttentionKind::kLlama4Temperature, 1024, 0.5),
              testing::HasSubstr("this run continues with that of sequence_length 1024, attn_scale 0.5"));
}

// The options of a model are its architecture: a resume and a new run from its weights keep them.
TEST(OptionsOfAModel, AreNotChangedByTheWay) {
  const config::Config plain = [] {
    config::Config config = config_of(kSoftmax, {});
    config.model.hidden_size = 16;
    config.model.num_attention_heads = 2;
    config.model.num_hidden_layers = 4;
    return config;
  }();
  config::Config other = plain;
  other.model.qk_norm = config::QkNorm::kRms;
  other.model.rope_fraction = 0.5;
  other.model.nope_layers.layers = {1, 3};
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const core::UsageError& error) {
      return error.what();
    }
    return "";
  };
  const auto init_from = [&](const config::Config& held, const config::Config& wanted) {
    return message([&] {
      refuse_other_model({.config = held.model, .sequence_length = 1024, .document_token_id = {}}, wanted,
                         "c");
    });
  };
  const auto resume = [&](const config::Config& held, const config::Config& wanted) {
    Past past = past_of({}, kSoftmax);
    past.config = held;
    return message([&] { refuse_fixed_differences(wanted, past); });
  };
  EXPECT_EQ(init_from(plain, plain) + init_from(other, other) + resume(other, other), "");
  EXPECT_EQ(init_from(plain, other),
            "c is another model than the config describes:\n"
            "  model.qk_norm: none in the checkpoint, rms in the config\n"
            "  model.nope_layers: [] in the checkpoint, [1, 3] in the config\n"
            "  model.rope_fraction: 1 in the checkpoint, 0.5 in the config");
  EXPECT_THAT(init_from(other, plain), testing::HasSubstr("model.qk_norm: rms in the checkpoint, none"));
  EXPECT_THAT(resume(other, plain),
              testing::AllOf(testing::HasSubstr("model.qk_norm: rms in the checkpoint, none now"),
                             testing::HasSubstr("model.rope_fraction: 0.5 in the checkpoint, 1 now"),
                             testing::HasSubstr("model.nope_layers: [1, 3] in the checkpoint, [] now")));
}

}  // namespace
}  // namespace ssgpt::start
