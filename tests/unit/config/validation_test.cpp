// Rules between keys: each is broken once, and kept at its edge.
#include "config/config.h"
#include "config/minimal_config.h"

#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::config {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string set(const std::vector<std::string>& overrides) {
  return message_with("", overrides);
}

TEST(Validation, HeadDimensionIsWholeAndEven) {
  EXPECT_THAT(set({"model.num_attention_heads=3"}),
              AllOf(HasSubstr("model.num_attention_heads = 3"), HasSubstr("hidden_size 256 / 3 heads"),
                    HasSubstr("work: 1, 2, 4, 8, 16, 32, 64, 128")));
  EXPECT_THAT(set({"model.num_attention_heads=256"}), HasSubstr("not 1; numbers of heads that work: "));
  EXPECT_THAT(set({"model.hidden_size=257", "model.num_attention_heads=1"}),
              AllOf(HasSubstr("hidden_size 257 / 1 head must be"), HasSubstr("that work: none")));
  EXPECT_EQ(set({"model.num_attention_heads=128"}), "");
}

TEST(Validation, RotatedDimensionsAreAnEvenNumber) {
  // A head dimension of 64.
  EXPECT_THAT(
      set({"model.rope_fraction=0.3"}),
      AllOf(HasSubstr("model.rope_fraction = 0.3: of the head dimension 64 (hidden_size 256 / 4 heads) it "
                      "is 19.2 dimensions"),
            HasSubstr("an even number of them, 2 or more; fractions that work: 0.28125, 0.3125")));
  EXPECT_THAT(set({"model.rope_fraction=0.015625"}),
              HasSubstr("it is 1 dimension, and must be an even number"));
  EXPECT_THAT(set({"model.rope_fraction=0.015625"}), HasSubstr("work: 0.03125, 0.0625"));
  EXPECT_THAT(set({"model.rope_fraction=0.99"}), HasSubstr("work: 0.96875, 1"));
  for (const char* bad : {"0", "-0.5", "1.5", "nan", "half", "[0.5]"}) {
    const std::string message = set({fmt::format("model.rope_fraction={}", bad)});
    EXPECT_THAT(message, AllOf(HasSubstr(fmt::format("model.rope_fraction = {}", bad)),
                               HasSubstr("expected a number above 0 and at most 1")));
  }
  for (const char* good : {"1", "0.5", "0.25", "0.03125"})
    EXPECT_EQ(set({fmt::format("model.rope_fraction={}", good)}), "") << good;
  const auto rotated = [](double fraction, int64_t dims) {
    return rotated_dims(fraction, dims).value_or(0);
  };
  EXPECT_EQ(rotated(0.333333, 24), 8);  // as one writes a third
  EXPECT_EQ(rotated(1.0 / 3.0, 24), 8);
  EXPECT_EQ(rotated(0.3333, 24), 0);
  EXPECT_EQ(rotated(0.25, 4), 0);
  // If the head dimension itself is wrong, that is the error.
  EXPECT_THAT(set({"model.num_attention_heads=3", "model.rope_fraction=0.3"}),
              Not(HasSubstr("rope_fraction")));
}

// transformers forms int(head_dim * fraction), in double; 2 / 98 times 98 is below 2.
TEST(ExactFraction, MakesItsDimensionsWhereTheProductIsCutOff) {
  EXPECT_LT(2.0 / 98.0 * 98.0, 2.0);
  for (int64_t dims = 2; dims <= 1024; dims += 2) {
    for (int64_t rotated = 2; rotated <= dims; rotated += 2) {
      const double quotient = static_cast<double>(rotated) / static_cast<double>(dims);
      const double fraction = exact_fraction(quotient, dims);
      ASSERT_EQ(static_cast<int64_t>(fraction * static_cast<double>(dims)), rotated) << dims;
      ASSERT_EQ(rotated_dims(fraction, dims), rotated) << dims;
      ASSERT_EQ(exact_fraction(fraction, dims), fraction) << dims;
      ASSERT_EQ(exact_fraction(quotient + 0.9e-7, dims), quotient < 1.0 ? fraction : quotient + 0.9e-7);
      ASSERT_LE(fraction, 1.0);
    }
  }
  EXPECT_EQ(exact_fraction(0.333333, 24), 1.0 / 3.0);
  EXPECT_EQ(exact_fraction(0.3333, 24), 0.3333);  // of no whole number of dimensions: a fault
  EXPECT_EQ(exact_fraction(0.0, 24), 0.0);
  const Config third =
      minimal_with({"model.hidden_size=96", "model.num_attention_heads=4", "model.rope_fraction=0.333333"});
  EXPECT_EQ(third.model.rope_fraction, 1.0 / 3.0);
  EXPECT_EQ(parse(dump(third), "c.yaml").model.rope_fraction, 1.0 / 3.0);
}

TEST(Validation, LayersWithoutRopeExist) {
  const auto layers = [](const std::string& nope) {
    return minimal_with({"model.num_hidden_layers=6", "model.nope_layers=" + nope}).model.nope_layers.layers;
  };
  EXPECT_EQ(layers("[]"), std::vector<int64_t>());
  EXPECT_EQ(layers("null"), std::vector<int64_t>());
  EXPECT_EQ(layers("[4, 0]"), (std::vector<int64_t>{0, 4}));
  // Hugging Face's no_rope_layer_interval: layer i has none where (i + 1) % K is 0.
  EXPECT_EQ(layers("{every: 2}"), (std::vector<int64_t>{1, 3, 5}));
  EXPECT_EQ(layers("{every: 4}"), (std::vector<int64_t>{3}));
  EXPECT_EQ(layers("{every: 6}"), (std::vector<int64_t>{5}));
  EXPECT_EQ(layers("{every: 1}").size(), 6u);
  EXPECT_TRUE(differences(minimal_with({"model.num_hidden_layers=6", "model.nope_layers={every: 2}"}),
                          minimal_with({"model.num_hidden_layers=6", "model.nope_layers=[1, 3, 5]"}))
                  .empty());
  const auto message = [](const std::string& nope) {
    return set({"model.num_hidden_layers=6", "model.nope_layers=" + nope});
  };
  EXPECT_THAT(message("[1, 6, 9]"),
              HasSubstr("model.nope_layers = [1, 6, 9]: there are no layers 6 and 9; layers are 0 "
                        "to model.num_hidden_layers - 1 = 5"));
  EXPECT_THAT(message("[1, 9]"), HasSubstr("there is no layer 9; layers are 0"));
  EXPECT_THAT(message("{every: 7}"),
              HasSubstr("model.nope_layers = {every: 7}: there is no layer 6; every must be at most "
                        "model.num_hidden_layers = 6"));
  for (const char* bad : {"[1, 1]", "[-1]", "[1.5]", "[x]", "3", "every", "{every: 0}", "{each: 2}", "{}",
                          "{every: 2, from: 1}", "{every: [2]}"}) {
    EXPECT_THAT(message(bad), AllOf(HasSubstr(fmt::format("model.nope_layers = {}", bad)),
                                    HasSubstr("expected a list of layers, each once, or {every: K}")))
        << bad;
  }
  EXPECT_THAT(set({"model.nope_layers.every=2"}), HasSubstr("model.nope_layers is set as a whole"));
}

TEST(Validation, TheNormOfQueriesAndKeysIsANameOfOne) {
  EXPECT_EQ(minimal_with({"model.qk_norm=rms"}).model.qk_norm, QkNorm::kRms);
  EXPECT_EQ(minimal_with({}).model.qk_norm, QkNorm::kNone);
  EXPECT_THAT(set({"model.qk_norm=rsm"}),
              AllOf(HasSubstr("model.qk_norm = rsm: expected none | rms"), HasSubstr("did you mean rms?")));
  EXPECT_THAT(set({"model.qk_norm=true"}), HasSubstr("model.qk_norm = true: expected none | rms"));
}

TEST(Validation, SamplesNeedValidationsAndATokenizer) {
  const std::vector<std::string> sound = {"evaluate.samples.prompts=['In the', '']", "data.tokenizer=t.model",
                                          "evaluate.every=5", "data.validation=v.bin"};
  EXPECT_EQ(set(sound), "");
  EXPECT_EQ(minimal_with(sound).evaluate.samples.prompts, (std::vector<std::string>{"In the", ""}));
  EXPECT_THAT(set({sound[0], sound[1]}), HasSubstr("evaluate.samples.prompts = [\"In the\", \"\"]: are "
                                                   "continued at each validation: needs evaluate.every"));
  EXPECT_THAT(set({sound[0], sound[2], sound[3]}), HasSubstr("need data.tokenizer"));
  EXPECT_THAT(set({"evaluate.samples.temperature=-1"}), HasSubstr("evaluate.samples.temperature = -1"));
  EXPECT_THAT(set({"evaluate.samples.max_tokens=0"}), HasSubstr("evaluate.samples.max_tokens = 0"));
}

TEST(Validation, MicroBatchDividesTheGlobalBatch) {
  EXPECT_THAT(set({"train.micro_batch_size=5"}),
              HasSubstr("train.micro_batch_size = 5: must divide train.global_batch_size = 32; sizes that "
                        "do: 1, 2, 4, 8, 16, 32"));
  EXPECT_THAT(set({"train.micro_batch_size=64"}), HasSubstr("must divide"));
  EXPECT_EQ(set({"train.micro_batch_size=32"}), "");
}

TEST(Validation, AStepDividesAmongRanksOrSaysWhatWould) {
  const auto train = [](int64_t global, int64_t micro) {
    TrainConfig config;
    config.global_batch_size = global;
    config.micro_batch_size = micro;
    return config;
  };
  EXPECT_EQ(accumulation_steps(train(32, 8), 1), 4);
  EXPECT_EQ(accumulation_steps(train(32, 8), 4), 1);
  const auto message = [&](int64_t global, int64_t micro, int64_t ranks) -> std::string {
    try {
      accumulation_steps(train(global, micro), ranks);
    } catch (const core::UsageError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(32, 8, 3), AllOf(HasSubstr("32 does not divide among 3 ranks in micro-batches of 8"),
                                       HasSubstr("train.global_batch_size 24 or 48; 1, 2, 4 ranks")));
  EXPECT_THAT(message(48, 8, 4), HasSubstr("train.global_batch_size 32 or 64; train.micro_batch_size "
                                           "1, 2, 3, 4, 6; 1, 2, 3, 6 ranks"));
  EXPECT_THAT(message(8, 8, 2),
              HasSubstr("train.global_batch_size 16; train.micro_batch_size 1, 2, 4; 1 rank."));
}

TEST(Validation, SwapsHaveBothKeysStepsOfTheirOwnAndChangeTheKind) {
  const std::string swaps = "train.swap_attention=";
  EXPECT_EQ(set({swaps + "{at_step: 999, kind: ssmax}"}), "");
  EXPECT_EQ(set({swaps + "[{at_step: 7, kind: softmax}, {at_step: 5, kind: ssmax}]"}), "");
  EXPECT_THAT(set({swaps + "{at_step: 1001, kind: ssmax}"}),
              HasSubstr("train.swap_attention = [{at_step: 1001, kind: ssmax}]: at_step 1001 is above "
                        "train.max_steps = 1000"));
  EXPECT_THAT(set({swaps + "{at_step: 5, kind: softmax}"}), HasSubstr("a swap needs another kind"));
  EXPECT_THAT(set({swaps + "[{at_step: 5, kind: ssmax}, {at_step: 9, kind: ssmax}]"}),
              HasSubstr("at step 9 the kind is ssmax already"));
  EXPECT_THAT(set({swaps + "[{at_step: 5, kind: ssmax}, {at_step: 5, kind: ssmax_bias}]"}),
              HasSubstr("two swaps at step 5"));
  for (const char* value :
       {"{at_step: -1, kind: ssmax}", "{at_step: 5}", "{kind: ssmax}", "{at_step: 5, kind: max}",
        "{at_step: 5, kind: ssmax, at: 3}", "[5]", "5", "[[]]", "{at_step: null, kind: ssmax}",
        "{at_stp: null, kind: null}", "{at_step: null}"}) {
    EXPECT_THAT(
        set({swaps + value}),
        AllOf(HasSubstr("train.swap_attention = "),
              HasSubstr("expected a list of {at_step: an integer from 0 to 1000000000, kind: softmax | "
                        "softmax_temperature | ssmax")))
        << value;
  }
  EXPECT_THAT(
      set({"train.swap_attention.at_step=5"}),
      HasSubstr("unknown key train.swap_attention.at_step = 5; train.swap_attention is set as a whole"));
}

// Earlier versions had one swap, and wrote nulls where there was none.
TEST(Validation, ASwapIsReadAsEarlierVersionsWroteIt) {
  EXPECT_EQ(minimal_with({"train.swap_attention={at_step: null, kind: null}"}).train.swap_attention.size(),
            0U);
  const std::vector<SwapAttention> one = {{.at_step = 5, .kind = AttentionKind::kSsmax}};
  EXPECT_EQ(minimal_with({"train.swap_attention={at_step: 5, kind: ssmax}"}).train.swap_attention, one);
}

TEST(AddSwap, KeepsTheListInOrderAndWithoutWhatChangesNothing) {
  using enum AttentionKind;
  Config config = minimal_with({});
  const auto swaps_after = [&config](int64_t at_step, AttentionKind kind) {
    add_swap(config, {.at_step = at_step, .kind = kind});
    return config.train.swap_attention;
  };
  using Swaps = std::vector<SwapAttention>;
  EXPECT_EQ(swaps_after(10, kSsmax), (Swaps{{10, kSsmax}}));
  EXPECT_EQ(swaps_after(5, kSsmaxBias), (Swaps{{5, kSsmaxBias}, {10, kSsmax}}));
  EXPECT_EQ(swaps_after(20, kLearnedPn), (Swaps{{5, kSsmaxBias}, {10, kSsmax}, {20, kLearnedPn}}));
  EXPECT_EQ(swaps_after(10, kSsmaxFixed), (Swaps{{5, kSsmaxBias}, {10, kSsmaxFixed}, {20, kLearnedPn}}));
  EXPECT_EQ(swaps_after(10, kLearnedPn), (Swaps{{5, kSsmaxBias}, {10, kLearnedPn}}));
  EXPECT_EQ(swaps_after(5, kSoftmax), (Swaps{{10, kLearnedPn}}));
}

TEST(Validation, ScheduleFitsTheRun) {
  const std::string schedule = "optimizer.schedule=";
  EXPECT_EQ(set({schedule + "{kind: wsd, warmup_steps: 400, decay_steps: 600, min_lr: 6e-4}"}), "");
  EXPECT_THAT(set({schedule + "{kind: wsd, warmup_steps: 401, decay_steps: 600}"}),
              HasSubstr("optimizer.schedule.decay_steps = 600: with the 401 steps of warm-up it is above "
                        "train.max_steps = 1000"));
  EXPECT_THAT(set({schedule + "{kind: wsd}"}),
              HasSubstr("needs the number of steps in which the rate falls"));
  EXPECT_THAT(set({schedule + "{kind: constant, warmup_steps: 1001}"}),
              HasSubstr("must not be above train.max_steps"));
  EXPECT_THAT(set({schedule + "{kind: constant, decay_steps: 1}"}), HasSubstr("has no effect"));
  EXPECT_THAT(set({schedule + "{kind: constant, total_steps: 9}"}),
              HasSubstr("total_steps = 9: has no effect"));
  EXPECT_THAT(set({schedule + "{kind: cosine, decay_steps: 8, total_steps: 9}"}), HasSubstr("has no effect"));
  EXPECT_EQ(set({schedule + "{kind: cosine, warmup_steps: 1500, total_steps: 2000}"}), "");
  EXPECT_THAT(set({schedule + "{kind: wsd, warmup_steps: 40, decay_steps: 61, total_steps: 100}"}),
              HasSubstr("above optimizer.schedule.total_steps = 100"));
  EXPECT_THAT(set({schedule + "{kind: constant, min_lr: 1e-5}"}), HasSubstr("has no effect"));
  EXPECT_THAT(set({schedule + "{kind: cosine, min_lr: 7e-4}"}),
              HasSubstr("must not be above optimizer.lr = 0.0006"));
  EXPECT_EQ(set({schedule + "{kind: cosine, warmup_steps: 999}"}), "");
  EXPECT_THAT(set({schedule + "{kind: cosine, warmup_steps: 500, decay_steps: 500}"}),
              HasSubstr("cosine ends, 500"));
}

TEST(Validation, DocumentsEndWithAKnownToken) {
  EXPECT_THAT(set({"data.reset_at_document=true"}),
              HasSubstr("needs data.document_token_id, or data.tokenizer"));
  EXPECT_EQ(set({"data.reset_at_document=true", "data.document_token_id=4095"}), "");
  EXPECT_EQ(set({"data.reset_at_document=true", "data.tokenizer=t.model"}), "");
  EXPECT_THAT(set({"data.document_token_id=4096"}), HasSubstr("must be below model.vocab_size = 4096"));
}

TEST(Validation, EvaluationNeedsData) {
  EXPECT_THAT(set({"evaluate.every=5"}), HasSubstr("needs data.validation"));
  EXPECT_EQ(set({"evaluate.every=5", "data.validation=v.bin"}), "");
}

TEST(Validation, TheNumberOfTokensFitsItsType) {
  EXPECT_THAT(set({"train.max_steps=1000000000", "data.sequence_length=16777216",
                   "train.global_batch_size=16777216"}),
              HasSubstr("does not fit"));
}

TEST(Validation, KeepsSilentAboutKeysThatAreWrongThemselves) {
  const std::string message = set({"train.micro_batch_size=none", "model.num_attention_heads=0"});
  EXPECT_THAT(message,
              AllOf(HasSubstr("2 faults"), Not(HasSubstr("must divide")), Not(HasSubstr("must be a whole"))));
}

TEST(Validation, TheMultiplierOfTheScalesRateIsOneUnlessGivenAndMayBeZero) {
  EXPECT_EQ(minimal_with({}).optimizer.scale_lr_multiplier, 1.0);
  EXPECT_EQ(minimal_with({"optimizer.scale_lr_multiplier=0"}).optimizer.scale_lr_multiplier, 0.0);
  EXPECT_EQ(minimal_with({"optimizer.scale_lr_multiplier=1000"}).optimizer.scale_lr_multiplier, 1000.0);
  for (const char* value : {"-0.1", "1000.5", "auto", ".inf"}) {
    EXPECT_THAT(set({std::string("optimizer.scale_lr_multiplier=") += value}),
                HasSubstr("expected a number of at least 0 and at most 1000"))
        << value;
  }
}

// What each library's attention supports, by its own checks; head dimension 64 unless it is set.
TEST(Validation, AnAttentionBackendCanWhatTheRunAsksForOrNamesTheKeys) {
  const std::string cudnn = "train.attention_backend=cudnn";
  const std::string flash = "train.attention_backend=flash";
  const std::string efficient = "train.attention_backend=efficient";
  for (const std::string& backend : {cudnn, flash, efficient}) {
    EXPECT_EQ(set({backend, "train.device=cuda"}), "") << backend;
    EXPECT_EQ(set({backend, "train.device=cuda", "train.dtype=bfloat16"}), "") << backend;
  }
  EXPECT_THAT(set({cudnn, "train.dtype=float32"}),
              HasSubstr("train.attention_backend = cudnn: on a GPU it needs train.dtype = bfloat16"));
  EXPECT_THAT(set({flash, "train.dtype=float32"}), HasSubstr("needs train.dtype = bfloat16"));
  EXPECT_EQ(set({efficient, "train.dtype=float32"}), "");

  EXPECT_THAT(set({cudnn, "train.deterministic=true"}), HasSubstr("needs train.deterministic = false"));
  EXPECT_EQ(set({flash, "train.deterministic=true"}), "");
  EXPECT_EQ(set({efficient, "train.deterministic=true"}), "");

  const std::vector<std::string> documents = {"data.reset_at_document=true", "data.document_token_id=2"};
  EXPECT_THAT(set({cudnn, documents[0], documents[1], "train.dtype=float32"}),
              HasSubstr("needs train.dtype = bfloat16, and data.reset_at_document = false"));
  EXPECT_EQ(set({flash, documents[0], documents[1]}), "");
  EXPECT_EQ(set({efficient, documents[0], documents[1]}), "");
}

TEST(Validation, AnAttentionBackendTakesHeadDimensionsUpToItsLimits) {
  const auto with_head_dim = [](const std::string& backend, int64_t head_dim) {
    return set({"train.attention_backend=" + backend, "model.num_attention_heads=2",
                "model.hidden_size=" + std::to_string(2 * head_dim)});
  };
  EXPECT_EQ(with_head_dim("cudnn", 128), "");
  EXPECT_THAT(with_head_dim("cudnn", 136), HasSubstr("at most 128, not 136 (model.hidden_size 272 / "));
  EXPECT_THAT(with_head_dim("cudnn", 60), HasSubstr("that 8 divides, not 60"));
  EXPECT_EQ(with_head_dim("flash", 256), "");
  EXPECT_THAT(with_head_dim("flash", 264), HasSubstr("at most 256, not 264"));
  EXPECT_THAT(with_head_dim("flash", 60), HasSubstr("that 8 divides, not 60"));
  EXPECT_EQ(with_head_dim("efficient", 60), "");
  EXPECT_EQ(with_head_dim("efficient", 512), "");
  EXPECT_THAT(with_head_dim("efficient", 62), HasSubstr("that 4 divides, not 62"));
}

// So that a run of a GPU goes on there.
TEST(Validation, AnAttentionBackendDoesNotMatterOnACpu) {
  EXPECT_EQ(set({"train.attention_backend=cudnn", "train.device=cpu", "train.dtype=float32",
                 "train.deterministic=true"}),
            "");
}

}  // namespace
}  // namespace ssgpt::config
