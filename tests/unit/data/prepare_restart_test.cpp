// Folders that hold shards already, and runs that are killed.

#include "core/error.h"
#include "data/fixtures.h"
#include "data/prepare.h"
#include "data/prepare_fixture.h"
#include "data/token_source.h"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::read_file;
using testing::write_file;

class Restart : public testing::PrepareFixture {
 protected:
  Restart() { write_file(folder_ / "book.txt", testing::make_text(5, 20'000)); }

  PrepareOptions options(const std::string& output) const {
    // Shards end inside documents.
    PrepareOptions options = options_for("book.txt", output, /*shard_tokens=*/6'000);
    options.text.split_documents_at = 2000;
    return options;
  }

  size_t shards_in(const std::string& output) const {
    size_t shards = 0;
    if (std::filesystem::exists(folder_ / output)) {
      for (const auto& entry : std::filesystem::directory_iterator(folder_ / output)) {
        shards += entry.path().extension() == ".bin" ? 1 : 0;
      }
    }
    return shards;
  }

  // Runs prepare in a process of its own and kills it once at least `shards` are there.
  void prepare_and_kill(const PrepareOptions& killed, const std::string& output, size_t shards) const {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        prepare(killed);
      } catch (...) {
      }
      ::_exit(0);
    }
    int status = 0;
    while (shards_in(output) < shards && ::waitpid(child, &status, WNOHANG) == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it finished before it was killed";
  }
};

TEST_F(Restart, KilledRunLeavesWholeShardsAndIsContinuedToTheSameBytes) {
  prepare(options("whole"));
  const auto whole = files_of("whole");
  ASSERT_GT(whole.size(), 40u);
  for (const size_t shards : {2u, 7u, 20u}) {
    const std::string output = "killed" + std::to_string(shards);
    prepare_and_kill(options(output), output, shards);
    size_t complete = 0;
    for (const auto& [name, bytes] : files_of(output)) {
      if (name.ends_with(".bin")) {
        EXPECT_TRUE(bytes == whole.at(name)) << name;  // no half shard under a final name
        ++complete;
      }
    }
    EXPECT_GE(complete, shards);
    const PrepareSummary summary = prepare(options(output));
    // At most one finished shard is not in the record yet: the others are not made again.
    EXPECT_LT(summary.encoded_tokens, summary.train.tokens + summary.validation.tokens);
    EXPECT_TRUE(files_of(output) == whole);
  }
}

TEST_F(Restart, RunKilledBeforeAnyShardIsFinishedStartsOver) {
  PrepareOptions one_shard = options("killed");
  one_shard.shard_tokens = 100'000'000;
  const pid_t child = ::fork();
  if (child == 0) {
    prepare(one_shard);
    ::_exit(0);
  }
  int status = 0;
  while (!std::filesystem::exists(folder_ / "killed" / "prepare.json") &&
         ::waitpid(child, &status, WNOHANG) == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(shards_in("killed"), 0u);
  prepare(options("killed"));  // other settings: nothing was there to contradict them
  prepare(options("whole"));
  EXPECT_TRUE(files_of("killed") == files_of("whole"));
}

TEST_F(Restart, FinishedFolderIsRefusedUnlessOverwritten) {
  prepare(options("out"));
  const auto before = files_of("out");
  EXPECT_THAT(message_of<core::UsageError>([&] { prepare(options("out")); }), HasSubstr("same settings"));
  PrepareOptions other = options("out");
  other.seed = 9;
  EXPECT_THAT(message_of<core::UsageError>([&] { prepare(other); }), HasSubstr("other settings (seed)"));
  EXPECT_TRUE(files_of("out") == before);

  other.shard_tokens = 1'000'000;
  other.overwrite = true;
  const PrepareSummary summary = prepare(other);
  EXPECT_EQ(shards_in("out"), static_cast<size_t>(summary.train.shards + summary.validation.shards));
  EXPECT_LT(files_of("out").size(), before.size());
}

TEST_F(Restart, ShardsOfUnknownOriginAreRefusedAndKept) {
  std::filesystem::create_directory(folder_ / "out");
  write_file(folder_ / "out" / "train_000000.bin", "precious");
  write_file(folder_ / "out" / "notes.txt", "mine");
  EXPECT_THAT(message_of<core::UsageError>([&] { prepare(options("out")); }), HasSubstr("train_000000.bin"));
  EXPECT_EQ(read_file(folder_ / "out" / "train_000000.bin"), "precious");
  PrepareOptions overwrite = options("out");
  overwrite.overwrite = true;
  prepare(overwrite);
  EXPECT_EQ(read_file(folder_ / "out" / "notes.txt"), "mine");
}

TEST_F(Restart, InterruptedRunWithOtherSettingsOrDamagedShardsIsNotContinued) {
  prepare_and_kill(options("out"), "out", 3);
  PrepareOptions other = options("out");
  other.validation_fraction = 0.2;
  EXPECT_THAT(message_of<core::UsageError>([&] { prepare(other); }), HasSubstr("validation_fraction"));
  const auto record = nlohmann::json::parse(read_file(folder_ / "out" / "prepare.json"));
  ASSERT_FALSE(record["shards"].empty());
  const std::filesystem::path shard = folder_ / "out" / record["shards"][0]["file"].get<std::string>();
  std::string bytes = read_file(shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(shard, bytes);
  EXPECT_THAT(message_of<core::InputError>([&] { prepare(options("out")); }), HasSubstr("--overwrite"));
}

}  // namespace
}  // namespace ssgpt::data
