// Shards of the synthetic tasks.

#include "data/prepare_synthetic.h"

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/token_source.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::read_file;
using testing::write_file;

class PrepareSynthetic : public ::testing::Test {
 protected:
  SyntheticOptions options(const std::string& output) const {
    SyntheticOptions options;
    options.task = SyntheticTask::kCopy;
    options.vocab_size = 64;
    options.length = 32;
    options.num_windows = 40;
    options.seed = 3;
    options.output = folder_ / output;
    return options;
  }

  std::map<std::string, std::string> files_of(const std::string& output) const {
    return testing::files_of(folder_ / output);
  }

  TokenSource source(const std::string& output, const std::string& split) const {
    std::vector<std::filesystem::path> paths;
    for (const auto& [name, bytes] : files_of(output)) {
      if (name.starts_with(split)) paths.push_back(folder_ / output / name);
    }
    return TokenSource(paths);
  }

  const TemporaryDirectory folder_;
};

TEST_F(PrepareSynthetic, WindowWOfTrainingIsSequenceW) {
  SyntheticOptions settings = options("out");
  settings.shard_tokens = 300;  // shards end within sequences
  settings.validation_windows = 7;
  const SyntheticSummary summary = prepare_synthetic(settings);
  EXPECT_EQ(summary.train.windows, 40);
  EXPECT_EQ(summary.train.tokens, 40 * 32);
  EXPECT_EQ(summary.train.shards, 5);
  EXPECT_EQ(summary.validation.tokens, 7 * 32);
  for (const auto& [split, windows, first_index] : {std::tuple{"train", int64_t{40}, int64_t{0}},
                                                    std::tuple{"validation", int64_t{7}, int64_t{1} << 40}}) {
    const TokenSource shards = source("out", split);
    EXPECT_EQ(shards.num_tokens(), windows * 32);
    EXPECT_EQ(shards.num_windows(32), windows - 1);
    for (int64_t window = 0; window < windows; ++window) {
      std::vector<int32_t> tokens(32);
      shards.read(window * 32, tokens, 64);
      EXPECT_EQ(tokens, training_sequence(SyntheticTask::kCopy, 64, 32, 3, first_index + window).tokens);
    }
  }
}

TEST_F(PrepareSynthetic, RecordSaysHowTheShardsWereMade) {
  SyntheticOptions settings = options("out");
  settings.task = SyntheticTask::kPasskey;
  prepare_synthetic(settings);
  const auto record = nlohmann::json::parse(read_file(folder_ / "out" / "prepare.json"));
  EXPECT_EQ(record.at("complete"), true);
  EXPECT_EQ(record.at("settings").at("synthetic"),
            (nlohmann::json{{"task", "passkey"}, {"vocab_size", 64}, {"length", 32}}));
  EXPECT_EQ(record.at("settings").at("windows"), 40);
  EXPECT_EQ(record.at("settings").at("validation_windows"), 2);  // a twentieth
  EXPECT_EQ(record.at("settings").at("seed"), 3);
  EXPECT_EQ(record.at("train"), (nlohmann::json{{"windows", 40}, {"tokens", 1280}, {"shards", 1}}));
  EXPECT_EQ(record.at("shards").size(), 2u);
}

TEST_F(PrepareSynthetic, SameArgumentsGiveTheSameBytesAndOthersGiveOthers) {
  prepare_synthetic(options("a"));
  prepare_synthetic(options("b"));
  EXPECT_TRUE(files_of("a") == files_of("b"));
  SyntheticOptions other = options("c");
  other.seed = 4;
  prepare_synthetic(other);
  EXPECT_NE(files_of("a").at("train_000000.bin"), files_of("c").at("train_000000.bin"));
  // More to train on: what was there stays, and so does the validation split.
  SyntheticOptions more = options("d");
  more.num_windows = 50;
  more.validation_windows = 2;
  prepare_synthetic(more);
  EXPECT_EQ(files_of("a").at("validation_000000.bin"), files_of("d").at("validation_000000.bin"));
  EXPECT_EQ(files_of("d").at("train_000000.bin").substr(1024, 40 * 32 * 2),
            files_of("a").at("train_000000.bin").substr(1024));
}

TEST_F(PrepareSynthetic, StoppedCallIsContinuedToTheSameBytes) {
  SyntheticOptions settings = options("whole");
  settings.length = 1000;
  settings.num_windows = 4000;  // several times what is made at a time
  settings.validation_windows = 1500;
  settings.shard_tokens = 300'007;
  prepare_synthetic(settings);
  const auto whole = files_of("whole");
  EXPECT_EQ(whole.size(), 14u + 5u + 1u);
  settings.output = folder_ / "stopped";
  for (int calls = 1;; ++calls) {
    ASSERT_LT(calls, 20) << "it never ends";
    int asked = 0;
    settings.stop_asked = [&asked] {
      return ++asked > 2;
    };
    const SyntheticSummary summary = prepare_synthetic(settings);
    for (const auto& [name, bytes] : files_of("stopped")) {
      if (name.ends_with(".bin")) {
        EXPECT_TRUE(bytes == whole.at(name)) << name;
      }
    }
    if (summary.stopped) continue;
    EXPECT_GT(calls, 2);
    EXPECT_GT(summary.kept_shards, 0);
    EXPECT_EQ(summary.train.tokens, 4'000'000);
    break;
  }
  EXPECT_TRUE(files_of("stopped") == whole);
}

TEST_F(PrepareSynthetic, CallThatIsStoppedBeforeItsFirstShardLeavesNothing) {
  SyntheticOptions settings = options("out");
  settings.stop_asked = [] {
    return true;
  };
  EXPECT_TRUE(prepare_synthetic(settings).stopped);
  EXPECT_TRUE(files_of("out").empty());
}

TEST_F(PrepareSynthetic, FinishedShardsAreReplacedOnlyWhenToldTo) {
  prepare_synthetic(options("out"));
  const auto before = files_of("out");
  EXPECT_THAT(message_of<core::UsageError>([&] { prepare_synthetic(options("out")); }),
              HasSubstr("same settings"));
  SyntheticOptions other = options("out");
  other.vocab_size = 10;
  EXPECT_THAT(message_of<core::UsageError>([&] { prepare_synthetic(other); }),
              AllOf(HasSubstr("other settings (synthetic)"), HasSubstr("--overwrite")));
  EXPECT_TRUE(files_of("out") == before);
  other.overwrite = true;
  prepare_synthetic(other);
  EXPECT_FALSE(files_of("out") == before);
  other.output = folder_ / "fresh";
  prepare_synthetic(other);
  EXPECT_TRUE(files_of("out") == files_of("fresh"));
}

TEST_F(PrepareSynthetic, OptionsOutOfRangeAreRefusedBeforeAnythingIsWritten) {
  const auto refused = [&](const auto& change) {
    SyntheticOptions settings = options("refused");
    change(settings);
    return message_of<core::UsageError>([&] { prepare_synthetic(settings); });
  };
  EXPECT_THAT(refused([](SyntheticOptions& o) { o.num_windows = 0; }), HasSubstr("0 windows to train on"));
  EXPECT_THAT(refused([](SyntheticOptions& o) { o.num_windows = 1; }), HasSubstr("allowed are 2"));
  EXPECT_THAT(refused([](SyntheticOptions& o) { o.validation_windows = 1; }), HasSubstr("0 (no validation"));
  EXPECT_THAT(refused([](SyntheticOptions& o) { o.validation_windows = -1; }), HasSubstr("-1 validation"));
  EXPECT_THAT(refused([](SyntheticOptions& o) { o.length = 0; }), HasSubstr("sequences of 0 tokens"));
  EXPECT_THAT(refused([](SyntheticOptions& o) { o.vocab_size = 1; }), HasSubstr("a vocabulary of 1"));
  EXPECT_THAT(refused([](SyntheticOptions& o) { o.shard_tokens = 0; }), HasSubstr("0 tokens per shard"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "refused"));
  SyntheticOptions without = options("without");
  without.validation_windows = 0;
  prepare_synthetic(without);
  EXPECT_EQ(files_of("without").count("validation_000000.bin"), 0u);
}

}  // namespace
}  // namespace ssgpt::data
