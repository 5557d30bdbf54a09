#include "config/config.h"
#include "config/minimal_config.h"
#include "core/error.h"
#include "core/file.h"
#include "core/message_of.h"
#include "core/temporary_directory.h"

#include <filesystem>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::config {
namespace {

using core::write_text_atomically;
using testing::ElementsAre;
using testing::HasSubstr;

template <typename Exception>
std::string load_failure(const std::filesystem::path& path, const std::vector<std::string>& overrides = {}) {
  return message_of<Exception>([&] { load(path, overrides); });
}

TEST(Parse, ReadsEveryTypeAndKeepsDefaultsElsewhere) {
  const Config config = parse(kMinimal + R"(run: {name: first, seed: 18446744073709551615}
optimizer:
  lr: 6e-4
  betas: [0.8, 1.0e-1]
  schedule: {kind: cosine, min_lr: +.5e-4}
log: {tensorboard: false}
checkpoint:
)",
                              "c.yaml");
  EXPECT_EQ(config.run.name, "first");
  EXPECT_EQ(config.run.seed, UINT64_MAX);
  EXPECT_EQ(config.model.vocab_size, 4096);
  EXPECT_EQ(config.optimizer.lr, 6e-4);
  EXPECT_EQ(config.optimizer.betas, (std::array{0.8, 0.1}));
  EXPECT_EQ(config.optimizer.schedule.kind, ScheduleKind::kCosine);
  EXPECT_EQ(config.optimizer.schedule.min_lr, 5e-5);
  EXPECT_FALSE(config.log.tensorboard);
  EXPECT_EQ(config.checkpoint.keep_last, CheckpointConfig{}.keep_last);
  EXPECT_EQ(config.data.tokenizer, std::nullopt);
  EXPECT_THAT(config.train.swap_attention, ElementsAre());
  EXPECT_THAT(config.data.train, ElementsAre("train.bin"));
}

TEST(Parse, ReadsJsonAsPythonWritesIt) {
  const std::string json =
      "{\n\t\"model\": {\"vocab_size\": 4096, \"hidden_size\": 256,\r\n\t\t\"num_hidden_layers\": 6,"
      "\"num_attention_heads\":4,\"intermediate_size\":688, \"attention\": {\"kind\":\"ssmax\"}},\n"
      "\t\"data\": {\"train\": [\"a\\/b \\\"\\u00e9\\ud83d\\ude00\\\\ud83d.bin\"], \"tokenizer\": null},\n"
      "\t\"train\": {\"max_steps\": 10, \"global_batch_size\": 8, \"micro_batch_size\": 8}\n}\n";
  const Config config = parse(json, "c.json");
  EXPECT_THAT(config.data.train, ElementsAre("a/b \"\xC3\xA9\xF0\x9F\x98\x80\\ud83d.bin"));
  EXPECT_EQ(config.model.vocab_size, 4096);
}

// JSON quotes every text, so a name of a choice may be quoted; a number may not.
TEST(Parse, TakesQuotedChoicesButNoQuotedNumbers) {
  EXPECT_EQ(minimal_with({"model.attention.kind=\"ssmax\""}).model.attention.kind, AttentionKind::kSsmax);
  EXPECT_THAT(message_with("", {"optimizer.lr=\"1e-3\""}),
              HasSubstr("optimizer.lr = \"1e-3\": expected a number"));
}

TEST(Overrides, WinInOrderAndMayBeAnyYaml) {
  const Config config =
      minimal_with({"optimizer.lr=1e-3", "optimizer.lr=2e-3", "data.validation=[a.bin, 'b=c.bin']",
                    "train.swap_attention={at_step: 5, kind: ssmax}",
                    "train.swap_attention=[{at_step: 7, kind: ssmax}]", "model.attention.scale_init=0.25"});
  EXPECT_EQ(config.optimizer.lr, 2e-3);
  EXPECT_THAT(config.data.validation, ElementsAre("a.bin", "b=c.bin"));
  EXPECT_THAT(config.train.swap_attention,
              ElementsAre(SwapAttention{.at_step = 7, .kind = AttentionKind::kSsmax}));
  EXPECT_EQ(config.model.attention.scale_init, 0.25);
  const Config reset =
      minimal_with({"train.swap_attention={at_step: 5, kind: ssmax}", "train.swap_attention=null",
                    "model.attention.scale_init=0.25", "model.attention.scale_init=auto"});
  EXPECT_THAT(reset.train.swap_attention, ElementsAre());
  EXPECT_EQ(reset.model.attention.scale_init, std::nullopt);
}

TEST(Overrides, FaultsAreNamedAsSuch) {
  EXPECT_THAT(message_with("", {"optimizer.lr=fast"}),
              HasSubstr("--set: optimizer.lr = fast: expected a number"));
  EXPECT_THAT(message_with("", {"optimizer.lr"}), HasSubstr("--set: optimizer.lr: expected key=value"));
  EXPECT_THAT(message_with("", {"=3"}), HasSubstr("expected key=value"));
  EXPECT_THAT(message_with("", {"optimizer.lr=null"}), HasSubstr("optimizer.lr = null: expected a number"));
  for (const char* empty : {"optimizer.lr=", "optimizer.schedule= ", "data.tokenizer="}) {
    EXPECT_THAT(message_with("", {empty}), HasSubstr("the value is empty"));
  }
  EXPECT_THAT(message_with("", {"data.train=*.bin"}), HasSubstr("not valid YAML; quote"));
  EXPECT_THAT(message_with("", {"optimizer.rl=1"}), HasSubstr("did you mean optimizer.lr?"));
}

TEST(Overrides, ChangeNothingBesidesTheirKey) {
  const Config config =
      parse(kMinimal + "log: {every: &steps 5}\ncheckpoint: {every: *steps}\n", "c.yaml", {"log.every=6"});
  EXPECT_EQ(config.log.every, 6);
  EXPECT_EQ(config.checkpoint.every, 5);
}

TEST(Includes, MergeDeeplyAndTheIncluderWins) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "shared");
  write_text_atomically(
      directory / "shared" / "base.yaml",
      kMinimal + "optimizer: {lr: 1e-3, eps: 1e-6, schedule: {kind: cosine, warmup_steps: 10}}\n");
  write_text_atomically(directory / "shared" / "fast.yaml", "include: base.yaml\noptimizer: {lr: 2e-3}\n");
  write_text_atomically(directory / "log.yaml", "optimizer: {eps: 1e-7}\nlog: {every: 1}\n");
  write_text_atomically(directory / "run.yaml",
                        "optimizer: {schedule: {warmup_steps: 20}}\ninclude: [shared/fast.yaml, log.yaml]\n");
  const Config config = load(directory / "run.yaml", {});
  EXPECT_EQ(config.optimizer.lr, 2e-3);
  EXPECT_EQ(config.optimizer.eps, 1e-7);
  EXPECT_EQ(config.optimizer.schedule.kind, ScheduleKind::kCosine);
  EXPECT_EQ(config.optimizer.schedule.warmup_steps, 20);
  EXPECT_EQ(config.log.every, 1);
}

TEST(Includes, ASectionThatIsNullTakesBackWhatTheBaseSays) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "base.yaml", kMinimal + "  swap_attention: {at_step: 5, kind: ssmax}\n");
  write_text_atomically(directory / "run.yaml", "include: base.yaml\ntrain: {swap_attention: null}\n");
  EXPECT_EQ(load(directory / "base.yaml", {}).train.swap_attention.size(), 1U);
  EXPECT_THAT(load(directory / "run.yaml", {}).train.swap_attention, ElementsAre());
}

TEST(Includes, FaultsNameTheFileAndLineOfTheValue) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "base.yaml", kMinimal + "optimizer:\n  lr: -1\n  eps: -1\nlogg: 3\n");
  write_text_atomically(directory / "run.yaml", "include: base.yaml\noptimizer:\n  eps: -2\n");
  const std::string message = load_failure<core::UsageError>(directory / "run.yaml");
  EXPECT_THAT(message, HasSubstr("3 faults"));
  EXPECT_THAT(message, HasSubstr("base.yaml:14: optimizer.lr = -1"));
  EXPECT_THAT(message, HasSubstr("base.yaml:16: unknown key logg = 3; did you mean log?"));
  EXPECT_THAT(message, HasSubstr("run.yaml:3: optimizer.eps = -2"));
}

TEST(Includes, CirclesAndMissingFilesAreErrors) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "a.yaml", kMinimal + "include: b.yaml\n");
  write_text_atomically(directory / "b.yaml", "log: {every: 1}\ninclude: ./a.yaml\n");
  write_text_atomically(directory / "self.yaml", "include: self.yaml\n" + kMinimal);
  write_text_atomically(directory / "lost.yaml", "\ninclude: none.yaml\n" + kMinimal);
  write_text_atomically(directory / "odd.yaml", "include: {a: b}\n" + kMinimal);
  EXPECT_THAT(load_failure<core::UsageError>(directory / "a.yaml"),
              HasSubstr("b.yaml:2: include = ./a.yaml: leads in a circle"));
  EXPECT_THAT(load_failure<core::UsageError>(directory / "self.yaml"), HasSubstr("self.yaml:1: include"));
  EXPECT_THAT(load_failure<core::InputError>(directory / "lost.yaml"),
              HasSubstr("lost.yaml:2: include = none.yaml"));
  EXPECT_THAT(load_failure<core::UsageError>(directory / "odd.yaml"),
              HasSubstr("odd.yaml:1: include = {...}"));
}

TEST(Includes, OneFileMayBeIncludedTwice) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "base.yaml", kMinimal);
  write_text_atomically(directory / "a.yaml", "include: base.yaml\nlog: {every: 3}\n");
  write_text_atomically(directory / "run.yaml", "include: [a.yaml, base.yaml]\n");
  EXPECT_EQ(load(directory / "run.yaml", {}).log.every, 3);
}

TEST(Load, WhatIsNoConfigIsAnInputErrorWithItsPlace) {
  const TemporaryDirectory directory;
  const auto failure_of = [&](const std::string& text) {
    write_text_atomically(directory / "c.yaml", text);
    return load_failure<core::InputError>(directory / "c.yaml");
  };
  EXPECT_THAT(load_failure<core::InputError>(directory / "none.yaml"), HasSubstr("none.yaml: no such file"));
  EXPECT_THAT(load_failure<core::InputError>(directory.path()), HasSubstr("a directory where a file"));
  EXPECT_THAT(failure_of("a: [1\nb: 2"), HasSubstr("c.yaml:2: not valid YAML"));
  EXPECT_THAT(failure_of("a:\n\tb: 1\n"), HasSubstr("c.yaml:2: not valid YAML"));
  EXPECT_THAT(failure_of("{\"a\": {\"b\": 1}"), HasSubstr("not valid YAML"));
  EXPECT_THAT(failure_of("a: 1\nb: \xFF\n"), HasSubstr("c.yaml:2: not UTF-8 text"));
  EXPECT_THAT(failure_of("a: 1\n---\nb: 1\n"), HasSubstr("second YAML document"));
  for (const char* text : {"{\"run\": {}},", "{run: {}}\n,", "{run: {}}, {}", "[]],", "{run: {}} }"}) {
    EXPECT_THAT(failure_of(text),
                testing::AnyOf(HasSubstr("a character too many"), HasSubstr("not valid YAML")))
        << text;
  }
}

TEST(Includes, ThatFanOutAreRefused) {
  const TemporaryDirectory directory;
  for (int i = 0; i < 24; ++i) {
    write_text_atomically(directory / fmt::format("{}.yaml", i),
                          fmt::format("include: [{0}.yaml, {0}.yaml]\n", i + 1));
  }
  write_text_atomically(directory / "24.yaml", kMinimal);
  EXPECT_THAT(load_failure<core::UsageError>(directory / "0.yaml"), HasSubstr("more than 100 files"));
  EXPECT_EQ(load(directory / "20.yaml", {}).model.vocab_size, 4096);  // 31 files
}

TEST(Includes, OfAStoredConfigAreRefused) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "base.yaml", kMinimal);
  const std::string text = "log: {every: 3}\ninclude: base.yaml\n";
  write_text_atomically(directory / "run.yaml", text);
  EXPECT_THAT(message_of<core::InputError>([&] { load_stored(directory / "run.yaml"); }),
              HasSubstr("run.yaml:2: include = base.yaml: the config that is stored with a run"));
  EXPECT_THAT(message_of<core::InputError>([&] { parse(text, "state.json"); }),
              HasSubstr("state.json:2: include = base.yaml"));
  EXPECT_EQ(load(directory / "run.yaml", {}).log.every, 3);
  EXPECT_EQ(load_stored(directory / "base.yaml").model.vocab_size, 4096);
}

TEST(Load, TheFilesOfAConfigAreLimitedTogether) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "base.yaml", kMinimal);
  write_text_atomically(directory / "large.yaml", "# " + std::string(3 << 20, 'x') + "\n");
  write_text_atomically(directory / "one.yaml", "include: [base.yaml, large.yaml]\n");
  EXPECT_EQ(load(directory / "one.yaml", {}).model.vocab_size, 4096);
  write_text_atomically(directory / "two.yaml", "include: [base.yaml, large.yaml, large.yaml]\n");
  try {
    load(directory / "two.yaml", {});
    FAIL();
  } catch (const core::UsageError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("large.yaml: the files that the config includes hold more than 4.0 MiB"));
  }
}

TEST(Load, AByteOrderMarkIsPassedOver) {
  const std::string json =
      R"({"model": {"vocab_size": 4096, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4,)"
      R"("intermediate_size": 688}, "data": {"train": ["\ud83d\ude00.bin"]},)"
      R"("train": {"max_steps": 10, "global_batch_size": 8, "micro_batch_size": 8}})";
  const TemporaryDirectory directory;
  write_text_atomically(directory / "c.json", "\xEF\xBB\xBF" + json);
  EXPECT_THAT(load(directory / "c.json", {}).data.train, ElementsAre("\U0001f600.bin"));
  write_text_atomically(directory / "c.yaml", "\xEF\xBB\xBF" + kMinimal);
  EXPECT_EQ(load(directory / "c.yaml", {}).model.vocab_size, 4096);
}

TEST(Overrides, MayBeJson) {
  const auto train = [](const std::string& value) {
    return parse(kMinimal, "c.yaml", {"data.train=" + value}).data.train;
  };
  EXPECT_THAT(train(R"(["\ud83d\ude00.bin"])"), ElementsAre("\U0001f600.bin"));
  EXPECT_THAT(train(R"("\ud83d\ude00.bin")"), ElementsAre("\U0001f600.bin"));
}

TEST(Load, WhatNestsDeeperThanAnyConfigIsWrongUsage) {
  const TemporaryDirectory directory;
  for (const std::string open : {"[", "{\"a\":", "- "}) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += open;
    write_text_atomically(directory / "c.json", text);
    EXPECT_THAT(load_failure<core::UsageError>(directory / "c.json"), HasSubstr("c.json:1: nests more than"))
        << open;
  }
}

TEST(Load, AFileOfManyMegabytesIsNoConfig) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "c.yaml", std::string(5 << 20, '#'));
  EXPECT_THAT(load_failure<core::InputError>(directory / "c.yaml"), HasSubstr("larger than 4.0 MiB"));
}

}  // namespace
}  // namespace ssgpt::config
