// Folders of shards that another run is told to replace.

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/prepare.h"

#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::read_file;
using testing::write_file;

class Overwrite : public ::testing::Test {
 protected:
  Overwrite() {
    write_file(folder_ / "old.txt", testing::make_text(5, 4'000));
    write_file(folder_ / "new.txt", testing::make_text(6, 2'000));
    prepare(options("old.txt", "out"));
    write_file(folder_ / "out" / "notes.txt", "mine");
  }

  PrepareOptions options(const std::string& input, const std::string& output) const {
    PrepareOptions options;
    options.inputs = {folder_ / input};
    options.tokenizer = tokenizer_;
    options.output = folder_ / output;
    options.text.split_documents_at = 2000;
    options.validation_fraction = 0.1;
    options.shard_tokens = 6'000;
    options.num_threads = 2;
    options.overwrite = true;
    return options;
  }

  // Bytes of each entry; folders give nothing, but their name.
  std::map<std::string, std::string> entries(const std::string& output) const {
    std::map<std::string, std::string> entries;
    for (const auto& entry : fs::directory_iterator(folder_ / output)) {
      entries[entry.path().filename().string()] = entry.is_directory() ? "" : read_file(entry.path());
    }
    return entries;
  }

  // The folder's contents once it was made from new.txt.
  std::map<std::string, std::string> replaced() const {
    prepare(options("new.txt", "other"));
    auto expected = entries("other");
    expected["notes.txt"] = "mine";
    return expected;
  }

  const TemporaryDirectory folder_;
  const fs::path tokenizer_ = testing::write_tokenizer(folder_);
};

TEST_F(Overwrite, ReplacesTheShardsAndNothingElse) {
  const auto before = entries("out");
  const auto expected = replaced();
  ASSERT_LT(expected.size(), before.size());  // so old shards are left to remove
  prepare(options("new.txt", "out"));
  EXPECT_TRUE(entries("out") == expected);
}

TEST_F(Overwrite, BadInputLeavesTheOldShardsAsTheyWere) {
  const auto before = entries("out");
  std::string lines;
  for (int i = 0; i < 2'000; ++i) {
    lines += R"({"text": "some words that fill a few shards before the fault is met, again and again"})"
             "\n";
  }
  write_file(folder_ / "first.jsonl", "no JSON\n" + lines);
  write_file(folder_ / "last.jsonl", lines + "no JSON\n");
  for (const char* input : {"first.jsonl", "last.jsonl"}) {
    EXPECT_THAT(message_of<core::InputError>([&] { prepare(options(input, "out")); }), HasSubstr("not JSON"));
    EXPECT_TRUE(entries("out") == before) << input;
  }
}

TEST_F(Overwrite, KilledReplacementKeepsTheOldShardsAndIsContinued) {
  write_file(folder_ / "new.txt", testing::make_text(6, 20'000));  // enough shards to be killed among them
  const auto before = entries("out");
  const auto expected = replaced();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    prepare(options("new.txt", "out"));
    ::_exit(0);
  }
  const fs::path replacement = folder_ / "out" / ".replacement";
  int status = 0;
  while (!fs::exists(replacement / "train_000001.bin") && ::waitpid(child, &status, WNOHANG) == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it finished before it was killed";
  auto killed = entries("out");
  EXPECT_EQ(killed.erase(".replacement"), 1u);
  EXPECT_TRUE(killed == before);
  const PrepareSummary summary = prepare(options("new.txt", "out"));
  EXPECT_LT(summary.encoded_tokens, summary.train.tokens + summary.validation.tokens);
  EXPECT_TRUE(entries("out") == expected);
}

// A folder where a shard belongs stops the exchange in its middle, as a kill would: some new shards may be in
// place, some are not.
TEST_F(Overwrite, ExchangeStoppedHalfwayIsMarkedIncompleteAndFinishedByTheNextCall) {
  const auto expected = replaced();
  const fs::path out = folder_ / "out";
  fs::remove(out / "train_000000.bin");
  fs::create_directories(out / "train_000000.bin" / "in the way");
  EXPECT_THAT(message_of<core::RunError>([&] { prepare(options("new.txt", "out")); }),
              HasSubstr("train_000000.bin"));
  const auto record = nlohmann::json::parse(read_file(out / "prepare.json"));
  EXPECT_EQ(record.at("complete"), false);  // by which `train` refuses the mixture
  EXPECT_TRUE(fs::exists(out / ".replacement" / "train_000000.bin"));
  fs::remove_all(out / "train_000000.bin");
  PrepareOptions again = options("new.txt", "out");
  again.overwrite = false;
  EXPECT_THAT(message_of<core::UsageError>([&] { prepare(again); }), HasSubstr("same settings"));
  EXPECT_TRUE(entries("out") == expected);
}

}  // namespace
}  // namespace ssgpt::data
