#include "data/prepare.h"

#include "core/error.h"
#include "data/fixtures.h"
#include "data/prepare_fixture.h"
#include "data/token_source.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::make_text;
using testing::read_file;
using testing::write_file;

class Prepare : public testing::PrepareFixture {
 protected:
  static constexpr int kDocuments = 3000;

  Prepare() {
    std::string lines;
    for (int i = 0; i < kDocuments; ++i) {
      documents_.push_back(make_text(static_cast<uint64_t>(i), 1 + i % 7));
      lines += nlohmann::json({{"text", documents_.back()}}).dump() + "\n";
    }
    write_file(folder_ / "corpus.jsonl.zst", testing::zstd_frame(lines));
  }

  PrepareOptions options(const std::string& output) const {
    return options_for("corpus.jsonl.zst", output, /*shard_tokens=*/20'000);
  }

  std::vector<int32_t> tokens_of(const std::string& output, const std::string& split) const {
    std::vector<std::filesystem::path> paths;
    for (const auto& [name, bytes] : files_of(output)) {
      if (name.starts_with(split)) {
        paths.push_back(folder_ / output / name);
      }
    }
    const TokenSource source(paths);
    std::vector<int32_t> tokens(static_cast<size_t>(source.num_tokens()));
    source.read(0, tokens, 600);
    return tokens;
  }

  std::vector<std::string> documents_;
};

TEST_F(Prepare, ShardsHoldEveryDocumentInOrderWithEosBehindIt) {
  const PrepareSummary summary = prepare(options("out"));
  const tokenizer::Tokenizer tokenizer(tokenizer_);
  std::vector<int32_t> train;
  std::vector<int32_t> validation;
  for (int i = 0; i < kDocuments; ++i) {
    auto& split = is_validation_document(1, i, 0.1) ? validation : train;
    const auto ids = tokenizer.encode(documents_[static_cast<size_t>(i)]);
    split.insert(split.end(), ids.begin(), ids.end());
    split.push_back(tokenizer.eos_id());
  }
  EXPECT_EQ(tokens_of("out", "train"), train);
  EXPECT_EQ(tokens_of("out", "validation"), validation);
  EXPECT_EQ(summary.train.tokens, static_cast<int64_t>(train.size()));
  EXPECT_EQ(summary.validation.tokens, static_cast<int64_t>(validation.size()));
  EXPECT_EQ(summary.train.documents + summary.validation.documents, kDocuments);
  EXPECT_NEAR(static_cast<double>(summary.validation.documents), 0.1 * kDocuments, 1.0);
  EXPECT_EQ(summary.train.shards, (summary.train.tokens + 19'999) / 20'000);
}

TEST_F(Prepare, OutputIsTheSameForAnyNumberOfThreadsAndAnyReadAhead) {
  PrepareOptions one = options("one");
  one.num_threads = 1;
  prepare(one);
  PrepareOptions two = options("two");
  two.max_bytes_ahead = 1;  // one batch at a time
  prepare(two);
  PrepareOptions five = options("five");
  five.num_threads = 5;
  prepare(five);
  EXPECT_GT(files_of("one").size(), 5u);
  EXPECT_TRUE(files_of("one") == files_of("two"));
  EXPECT_TRUE(files_of("one") == files_of("five"));
}

TEST_F(Prepare, RecordDescribesTheShards) {
  prepare(options("out"));
  const auto record = nlohmann::json::parse(read_file(folder_ / "out" / "prepare.json"));
  EXPECT_EQ(record["complete"], true);
  EXPECT_EQ(record["settings"]["tokenizer"]["vocab_size"], 600);
  EXPECT_EQ(record["settings"]["tokenizer"]["eos_id"], 2);
  int64_t tokens = 0;
  for (const auto& shard : record["shards"]) {
    const int64_t count = TokenShard(folder_ / "out" / shard["file"].get<std::string>()).num_tokens();
    EXPECT_EQ(shard["tokens"], count);
    tokens += count;
  }
  EXPECT_EQ(tokens, record["train"]["tokens"].get<int64_t>() + record["validation"]["tokens"].get<int64_t>());
}

TEST_F(Prepare, OneLargeTextGivesAValidationSplitByDefault) {
  write_file(folder_ / "book.txt", make_text(5, 20'000));
  PrepareOptions book = options("book");
  book.inputs = {folder_ / "book.txt"};
  book.validation_fraction = 0.05;
  const PrepareSummary summary = prepare(book);
  EXPECT_NEAR(static_cast<double>(summary.validation.tokens),
              0.05 * static_cast<double>(summary.train.tokens + summary.validation.tokens),
              0.015 * static_cast<double>(summary.train.tokens));
  const tokenizer::Tokenizer tokenizer(tokenizer_);
  EXPECT_EQ(summary.text_bytes, read_file(folder_ / "book.txt").size());
}

TEST_F(Prepare, WithoutAFractionThereIsNoValidationShard) {
  PrepareOptions all = options("all");
  all.validation_fraction = 0.0;
  EXPECT_EQ(prepare(all).train.documents, kDocuments);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "all" / "validation_000000.bin"));
}

TEST_F(Prepare, BadInputLeavesNothingBehind) {
  write_file(folder_ / "bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": \n");
  PrepareOptions bad = options("bad");
  bad.inputs = {folder_ / "bad.jsonl"};
  EXPECT_THAT(message_of<core::InputError>([&] { prepare(bad); }), HasSubstr("bad.jsonl:2"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "bad"));

  bad.text.on_bad = OnBad::kSkip;
  bad.validation_fraction = 0.0;
  const PrepareSummary summary = prepare(bad);
  EXPECT_EQ(summary.train.documents, 1);
  EXPECT_EQ(summary.left_out.bad, 1);

  write_file(folder_ / "empty.txt", "\n\n");
  PrepareOptions empty = options("empty");
  empty.inputs = {folder_ / "empty.txt"};
  EXPECT_THAT(message_of<core::InputError>([&] { prepare(empty); }), HasSubstr("no text"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "empty"));
}

TEST_F(Prepare, OptionsOutOfRangeAreUsageErrors) {
  for (const double fraction : {-0.1, 1.0, 7.0}) {
    PrepareOptions wrong = options("wrong");
    wrong.validation_fraction = fraction;
    EXPECT_THROW(prepare(wrong), core::UsageError);
  }
  for (const int64_t shard_tokens : {int64_t{0}, int64_t{-1}, int64_t{1} << 31}) {
    PrepareOptions wrong = options("wrong");
    wrong.shard_tokens = shard_tokens;
    EXPECT_THROW(prepare(wrong), core::UsageError);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "wrong"));
  PrepareOptions unwritable = options("wrong");
  unwritable.output = "/proc/no/such/folder";
  EXPECT_THROW(prepare(unwritable), core::RunError);
}

TEST(ValidationSplit, HoldsOutTheFractionOfEveryPrefixAndSpreadsIt) {
  for (const double fraction : {0.01, 0.05, 0.3, 0.5, 0.9}) {
    int64_t held_out = 0;
    for (int64_t index = 0; index < 5000; ++index) {
      held_out += is_validation_document(3, index, fraction) ? 1 : 0;
      ASSERT_NEAR(static_cast<double>(held_out), fraction * static_cast<double>(index + 1), 1.0) << fraction;
    }
  }
  int differ = 0;
  for (int64_t index = 0; index < 5000; ++index) {
    differ += is_validation_document(3, index, 0.05) != is_validation_document(4, index, 0.05) ? 1 : 0;
    EXPECT_FALSE(is_validation_document(3, index, 0.0));
  }
  EXPECT_GT(differ, 300);  // two choices of 250 that had all in common would give 0, none 500
}

}  // namespace
}  // namespace ssgpt::data
