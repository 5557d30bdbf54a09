#include "config/config.h"
#include "config/minimal_config.h"
#include "config/schema.h"
#include "config/soundness.h"
#include "core/error.h"
#include "core/file.h"
#include "core/message_of.h"
#include "core/temporary_directory.h"

#include <ctime>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

namespace ssgpt::config {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(Faults, AnEmptyConfigNamesEveryRequiredKey) {
  for (const std::string text : {"", "# nothing\n", "{}", "model:\n"}) {
    try {
      parse(text, "c.yaml");
      FAIL();
    } catch (const core::UsageError& error) {
      for (const Key& key : schema()) {
        const std::string fault = "c.yaml: " + key.name + " is missing";
        EXPECT_THAT(error.what(),
                    key.required ? testing::Matcher<std::string>(HasSubstr(fault)) : Not(HasSubstr(fault)));
      }
      EXPECT_EQ(error.code(), core::ExitCode::kUsage);
    }
  }
}

TEST(Faults, AreListedAllAtOnceByLine) {
  const std::string message = message_with(R"(  clip_grad_norm: none
optimizer:
  lr: 0
  betas: [0.9]
  lr: 1
log: {every: 0, evry: 1}
evaluate: often
)",
                                           {"run.name=a/b"});
  EXPECT_THAT(message, StartsWith("8 faults in the config:\n"));
  size_t last = 0;
  for (const std::string fault : {"--set: run.name = a/b: expected 1 to 100 letters",
                                  "c.yaml:13: train.clip_grad_norm = none: expected a number of at least 0",
                                  "c.yaml:15: optimizer.lr = 0: expected a number above 0",
                                  "c.yaml:16: optimizer.betas = [0.9]: expected a list of two",
                                  "c.yaml:17: optimizer.lr is listed twice in this file (first in line 15)",
                                  "c.yaml:18: log.every = 0: expected an integer from 1",
                                  "c.yaml:18: unknown key log.evry = 1; did you mean log.every?",
                                  "c.yaml:19: evaluate = often: expected a section"}) {
    const size_t position = message.find(fault);
    ASSERT_NE(position, std::string::npos) << fault << "\n" << message;
    EXPECT_GT(position, last) << fault;
    last = position;
  }
}

TEST(Faults, OneFaultIsOneLine) {
  EXPECT_EQ(message_with("log: {every: x}\n"),
            "c.yaml:13: log.every = x: expected an integer from 1 to 1000000000 (steps per line of metrics)");
}

std::string unknown_keys(int count, const std::string& section) {
  std::string text;
  for (int i = 0; i < count; ++i) text += fmt::format("{}zz{}: 1\n", section, i);
  return text;
}

TEST(Faults, OfManyTheFirstHundredAreListed) {
  const std::string all = message_with(unknown_keys(100, "log."));
  EXPECT_THAT(all, AllOf(StartsWith("100 faults in the config:\n"),
                         HasSubstr("c.yaml:112: unknown key log.zz99"), Not(HasSubstr("and more"))));
  const std::string some = message_with(unknown_keys(101, "log."));
  EXPECT_THAT(some,
              AllOf(StartsWith("more than 100 faults in the config:\n"), HasSubstr("unknown key log.zz99"),
                    Not(HasSubstr("unknown key log.zz100")), testing::EndsWith("\n  and more")));
}

TEST(Faults, AHintFollowsTheFirstTwentyUnknownKeys) {
  const std::string message = message_with(unknown_keys(30, "log."));
  EXPECT_THAT(message, AllOf(HasSubstr("log.zz19 = 1; log holds every"), HasSubstr("log.zz20 = 1\n")));
}

// The same fault each time is one, however often its file is read.
TEST(Faults, OfAFileThatIsIncludedOftenCountOnce) {
  const TemporaryDirectory directory;
  core::write_text_atomically(directory / "many.yaml", unknown_keys(60, "log."));
  core::write_text_atomically(directory / "c.yaml",
                              "include: [many.yaml, many.yaml, many.yaml]\n" + kMinimal);
  try {
    load(directory / "c.yaml", {});
    FAIL();
  } catch (const core::UsageError& error) {
    EXPECT_THAT(error.what(), StartsWith("60 faults in the config:\n"));
  }
}

// With a hint for each it takes more than a quarter of a minute.
TEST(Faults, AConfigOfMegabytesIsRefusedInAMoment) {
  // It takes a second of a core, and would take hours if it grew with the square of the keys. The clock
  // counts what this process computes, so other work on the cores does not matter.
  const std::clock_t begin = std::clock();
  EXPECT_THAT(message_with(unknown_keys(100'000, "optimizer.")), StartsWith("more than 100 faults"));
  EXPECT_LT(std::clock() - begin, 10 * CLOCKS_PER_SEC);
}

TEST(UnknownKeys, SuggestTheNearestKeyAlsoOfAnotherSection) {
  EXPECT_THAT(message_with("modle: {hidden_size: 3}\n"),
              HasSubstr("unknown key modle = {...}; did you mean model?"));
  EXPECT_THAT(message_with("optimizer: {max_steps: 3}\n"), HasSubstr("did you mean train.max_steps?"));
  EXPECT_THAT(message_with("lr: 3\n"), HasSubstr("did you mean optimizer.lr?"));
  EXPECT_THAT(message_with("optimizer: {warmup_step: 3}\n"),
              HasSubstr("did you mean optimizer.schedule.warmup_steps?"));
  EXPECT_THAT(message_with("optimizer: {scheduel: {kind: wsd}}\n"),
              HasSubstr("did you mean optimizer.schedule?"));
  EXPECT_THAT(message_with("log: {zzzzzz: 3}\n"),
              HasSubstr("unknown key log.zzzzzz = 3; log holds every, tensorboard"));
  EXPECT_THAT(message_with("log: {<<: {every: 1}}\n"), HasSubstr("unknown key log.<<"));
  EXPECT_THAT(message_with("log: {[1, 2]: 1}\n"), HasSubstr("c.yaml:13: the key [1, 2] is a list"));
}

TEST(Faults, AFileThatHoldsNoMappingIsToldSo) {
  for (const std::string text : {"- 1", "just text"}) {
    try {
      parse(text, "c.yaml");
      FAIL();
    } catch (const core::UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("c.yaml:1: a config is a mapping of sections"));
    }
  }
}

TEST(WrongValues, OfAChoiceSuggestTheNearestName) {
  EXPECT_THAT(
      message_with("", {"model.attention.kind=ssmx"}),
      AllOf(HasSubstr("softmax | softmax_temperature | ssmax | ssmax_fixed | ssmax_bias | learned_pn"),
            HasSubstr("did you mean ssmax?")));
  EXPECT_THAT(message_with("", {"train.dtype=fp8"}), Not(HasSubstr("did you mean")));
}

TEST(WrongValues, NumbersMustBeWholeFiniteAndInRange) {
  for (const std::string value : {"1.5", "1.0", "1e3", "0x10", "1_000", "9223372036854775808", "-1", "ten",
                                  "~", "[1]", "{a: 1}", "'5'", "true", "+-5", "5 "}) {
    const std::string message = message_with("", {"log.every=" + value});
    EXPECT_EQ(message.empty(), value == "5 ") << value << message;  // YAML drops blanks at the end
  }
  for (const std::string value : {"nan", ".nan", "inf", ".inf", "-.inf", "1e999", "1e-999", "-1", "0", "1,5",
                                  "0x1p3", "~", "[1]", "'1'", "1e"}) {
    EXPECT_THAT(message_with("", {"optimizer.lr=" + value}), HasSubstr("optimizer.lr = ")) << value;
  }
  for (const std::string value : {"18446744073709551616", "-1", "1.0"}) {
    EXPECT_THAT(message_with("", {"run.seed=" + value}), HasSubstr("run.seed = ")) << value;
  }
  for (const std::string value : {"yes", "on", "1", "True", "~", "'true'"}) {
    EXPECT_THAT(message_with("", {"train.deterministic=" + value}), HasSubstr("expected true | false"))
        << value;
  }
}

TEST(WrongValues, ARangeIncludesItsClosedEndsOnly) {
  EXPECT_EQ(message_with("", {"optimizer.betas=[0, 0.999999]"}), "");
  EXPECT_THAT(message_with("", {"optimizer.betas=[0, 1]"}), HasSubstr("at least 0 and below 1"));
  EXPECT_EQ(message_with("", {"optimizer.weight_decay=0"}), "");
  EXPECT_THAT(message_with("", {"optimizer.eps=0"}), HasSubstr("above 0"));
  EXPECT_EQ(message_with("", {"parallel.zero_stage=0"}), "");
  EXPECT_THAT(message_with("", {"parallel.zero_stage=2"}), HasSubstr("from 0 to 1"));
}

TEST(WrongValues, EveryKeyRefusesASectionAndKeepsItsValue) {
  for (const Key& key : schema()) {
    Config config;
    EXPECT_FALSE(key.read(YAML::Load("{a: 1}"), config)) << key.name;
    EXPECT_FALSE(key.read(YAML::Load("[[1, 2], {a: 1}]"), config)) << key.name;
    EXPECT_EQ(dump(config), dump(Config{})) << key.name;
  }
}

TEST(WrongValues, LongOnesAreCutBetweenCharacters) {
  std::string value;
  for (int i = 0; i < 1000; ++i) {
    value += "\xC3\xA9";
  }
  const std::string message = message_with("", {"log.every=" + value});
  EXPECT_LT(message.size(), 300u);
  EXPECT_THAT(message, HasSubstr("\xC3\xA9...: expected"));
}

TEST(FineTuning, EpochsStandForSteps) {
  const std::string epochs = R"(model: {vocab_size: 4096, hidden_size: 256, num_hidden_layers: 6,
  num_attention_heads: 4, intermediate_size: 688}
data: {train: [train.jsonl], tokenizer: t.model, format: sft}
optimizer: {schedule: {kind: cosine, warmup_epochs: 1}}
train: {epochs: 10, global_batch_size: 32, micro_batch_size: 8}
)";
  const Config config = parse(epochs, "c.yaml");
  EXPECT_EQ(config.train.epochs, 10);
  EXPECT_EQ(config.train.max_steps, 0);
  EXPECT_EQ(config.optimizer.schedule.warmup_epochs, 1);
  const std::string steps = "train.max_steps: 5\noptimizer.schedule.warmup_steps: 3\n";
  EXPECT_THAT(message_of<core::UsageError>([&] { parse(epochs + steps, "c.yaml"); }),
              AllOf(HasSubstr("train.max_steps = 5 says how long"),
                    HasSubstr("optimizer.schedule.warmup_steps = 3 says how long")));
  EXPECT_THAT(message_of<core::UsageError>([&] { parse(epochs, "c.yaml", {"data.format=pretrain"}); }),
              AllOf(HasSubstr("train.epochs = 10: needs data.format = sft"),
                    HasSubstr("optimizer.schedule.warmup_epochs = 1: needs data.format = sft")));
  EXPECT_THAT(message_of<core::UsageError>([&] { parse(epochs, "c.yaml", {"train.epochs=null"}); }),
              HasSubstr("train.max_steps is missing"));
}

// If a file, or the command line, uses another unit than an earlier file, the later one counts.
TEST(FineTuning, WhatIsSaidLaterInEpochsOrStepsTakesThePlaceOfTheOther) {
  const auto steps_of = [](const Config& config) {
    return std::tuple(config.train.epochs, config.train.max_steps, config.optimizer.schedule.warmup_epochs,
                      config.optimizer.schedule.warmup_steps);
  };
  const std::vector<std::string> sft = {"data.format=sft", "data.tokenizer=t.model"};
  const auto with = [&](std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), sft.begin(), sft.end());
    return overrides;
  };
  using Steps = decltype(steps_of(Config()));
  const std::string in_steps = kMinimal + "optimizer.schedule: {warmup_steps: 30}\n";
  const std::string warmup = "optimizer.schedule.warmup_";
  const Config in_epochs = parse(in_steps, "c.yaml", with({"train.epochs=3", warmup + "epochs=1"}));
  EXPECT_EQ(steps_of(in_epochs), Steps(3, 0, 1, 0));
  // As a run stores it, with every key, some of them null; and back.
  Config stored = in_epochs;
  stored.train.epochs.reset();
  stored.train.max_steps = 6;
  stored.optimizer.schedule.warmup_epochs.reset();
  stored.optimizer.schedule.warmup_steps = 2;
  EXPECT_EQ(steps_of(parse(dump(stored), "config.yaml")), Steps(std::nullopt, 6, std::nullopt, 2));
  EXPECT_EQ(steps_of(parse(dump(stored), "config.yaml", {"train.epochs=4"})), Steps(4, 0, std::nullopt, 2));
  EXPECT_EQ(steps_of(parse(in_steps, "c.yaml", with({"train.epochs=3", "train.max_steps=90"}))),
            Steps(std::nullopt, 90, std::nullopt, 30));
  // null is not a number of epochs, and leaves the steps.
  EXPECT_EQ(steps_of(parse(in_steps, "c.yaml", with({"train.epochs=null"}))),
            Steps(std::nullopt, 1000, std::nullopt, 30));

  const TemporaryDirectory folder;
  core::write_text_atomically(folder / "base.yaml", in_steps);
  core::write_text_atomically(folder / "child.yaml", "include: base.yaml\ntrain: {epochs: 3}\n");
  core::write_text_atomically(folder / "grandchild.yaml", "include: child.yaml\ntrain: {max_steps: 50}\n");
  core::write_text_atomically(folder / "both.yaml",
                              "include: base.yaml\ntrain: {epochs: 3, max_steps: 50}\n");
  EXPECT_EQ(steps_of(load(folder / "child.yaml", sft)), Steps(3, 0, std::nullopt, 30));
  EXPECT_EQ(steps_of(load(folder / "grandchild.yaml", sft)), Steps(std::nullopt, 50, std::nullopt, 30));
  EXPECT_THAT(message_of<core::UsageError>([&] { load(folder / "both.yaml", sft); }),
              HasSubstr("train.max_steps = 50 says how long"));
}

TEST(FineTuning, TheWarmUpEndsWithinTheEpochs) {
  const auto message = [](const std::string& schedule) {
    return message_with("optimizer.schedule: " + schedule + "\n",
                        {"data.format=sft", "data.tokenizer=t.model", "train.epochs=2"});
  };
  EXPECT_EQ(message("{warmup_epochs: 2}"), "");
  EXPECT_THAT(
      message("{warmup_epochs: 5}"),
      AllOf(HasSubstr("c.yaml:13"), HasSubstr("warmup_epochs = 5: must not be above train.epochs = 2")));
  EXPECT_EQ(message("{kind: cosine, warmup_epochs: 1}"), "");
  EXPECT_THAT(message("{kind: cosine, warmup_epochs: 2}"), HasSubstr("must be below train.epochs = 2"));
  EXPECT_EQ(message("{kind: cosine, warmup_epochs: 2, decay_steps: 900}"), "");
}

TEST(FineTuning, HasNoDocuments) {
  const std::vector<std::string> sft = {"data.format=sft", "data.tokenizer=t.model"};
  const auto message = [&](const char* setting) {
    return message_with("", {sft[0], sft[1], setting});
  };
  EXPECT_THAT(message("data.reset_at_document=true"),
              HasSubstr("data.reset_at_document = true: has no effect with data.format = sft"));
  EXPECT_THAT(message("data.document_token_id=2"),
              HasSubstr("data.document_token_id = 2: has no effect with data.format = sft"));
  EXPECT_EQ(message("data.reset_at_document=false"), "");
}

// A config that was changed after it was read is in no file: no line is named.
TEST(RequireSound, NamesTheKeysOfAConfigThatWasChanged) {
  Config config = minimal_with({"optimizer.schedule.warmup_steps=10"});
  EXPECT_NO_THROW(require_sound(config, "the config"));
  config.train.max_steps = 5;
  EXPECT_THAT(message_of<core::UsageError>([&] { require_sound(config, "the config of now"); }),
              AllOf(HasSubstr("the config of now: "),
                    HasSubstr("warmup_steps = 10: must not be above train.max_steps = 5"),
                    Not(ContainsRegex("now:[0-9]"))));
  config.train.max_steps = 2'000'000'000;
  EXPECT_THAT(message_of<core::UsageError>([&] { require_sound(config, "the config of now"); }),
              HasSubstr("train.max_steps = 2000000000: expected"));
}

TEST(FineTuning, NeedsATokenizer) {
  EXPECT_THAT(message_with("", {"data.format=sft"}), HasSubstr("needs data.tokenizer"));
  EXPECT_EQ(message_with("", {"data.format=sft", "data.tokenizer=t.model"}), "");
  EXPECT_THAT(message_with("", {"data.on_long_example=skip"}), HasSubstr("no effect without data.format"));
}

}  // namespace
}  // namespace ssgpt::config
