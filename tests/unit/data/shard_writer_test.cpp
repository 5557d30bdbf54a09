#include "data/shard_writer.h"

#include "core/check.h"
#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/token_source.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using testing::llmc_file;
using testing::pattern_tokens;
using testing::read_file;

std::vector<WrittenShard> write_shards(const TemporaryDirectory& folder, const std::vector<uint32_t>& tokens,
                                       int64_t vocab_size, int64_t shard_tokens, size_t tokens_a_write) {
  std::vector<WrittenShard> shards;
  ShardWriter writer(folder.path(), "train", vocab_size, shard_tokens, 0,
                     [&](const WrittenShard& shard) { shards.push_back(shard); });
  const std::vector<int32_t> ids(tokens.begin(), tokens.end());
  for (size_t first = 0; first < ids.size(); first += tokens_a_write) {
    writer.write(std::span(ids).subspan(first, std::min(tokens_a_write, ids.size() - first)));
  }
  writer.finish();
  EXPECT_EQ(writer.num_tokens(), static_cast<int64_t>(tokens.size()));
  return shards;
}

TEST(ShardWriter, WritesLlmcFilesByteForByte) {
  const TemporaryDirectory folder;
  const auto small = pattern_tokens(1000, 65'536);
  write_shards(folder, small, 65'536, 5000, 77);
  EXPECT_EQ(read_file(folder / "train_000000.bin"), llmc_file(20240520, 1, 1000, small, 2));
  const auto large = pattern_tokens(1000, 200'000);
  write_shards(folder, large, 200'000, 5000, 77);
  EXPECT_EQ(read_file(folder / "train_000000.bin"), llmc_file(20240801, 7, 1000, large, 4));
}

TEST(ShardWriter, CutsAtExactlyTheShardSizeHoweverItIsFed) {
  const auto tokens = pattern_tokens(1050, 70'000);
  for (const size_t tokens_a_write : {1u, 99u, 100u, 101u, 1050u}) {
    const TemporaryDirectory folder;
    const auto shards = write_shards(folder, tokens, 70'000, 100, tokens_a_write);
    ASSERT_EQ(shards.size(), 11u);
    std::vector<std::filesystem::path> paths;
    for (const WrittenShard& shard : shards) {
      EXPECT_EQ(shard.num_tokens, &shard == &shards.back() ? 50 : 100);
      paths.push_back(folder / shard.file);
    }
    EXPECT_EQ(paths.back().filename(), "train_000010.bin");
    const TokenSource source(paths);
    std::vector<int32_t> read(tokens.size());
    source.read(0, read, 70'000);
    EXPECT_EQ(std::vector<uint32_t>(read.begin(), read.end()), tokens);
  }
}

TEST(ShardWriter, ShardThatEndsWithTheTokensLeavesNoEmptyOneBehind) {
  const TemporaryDirectory folder;
  EXPECT_EQ(write_shards(folder, pattern_tokens(200, 100), 100, 100, 30).size(), 2u);
  EXPECT_FALSE(std::filesystem::exists(folder / "train_000002.bin"));
}

TEST(ShardWriter, UnfinishedShardIsNeverUnderItsName) {
  const TemporaryDirectory folder;
  {
    ShardWriter writer(folder.path(), "train", 100, 1000, 0, [](const WrittenShard&) {});
    writer.write(std::vector<int32_t>(500, 7));
    EXPECT_FALSE(std::filesystem::exists(folder / "train_000000.bin"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ShardWriter, RefusesIdsOutsideTheVocabularyAndShardsThatCannotBeCounted) {
  const TemporaryDirectory folder;
  const auto nothing = [](const WrittenShard&) {
  };
  ShardWriter writer(folder.path(), "train", 100, 1000, 0, nothing);
  EXPECT_THROW(writer.write(std::vector<int32_t>{5, 100}), core::InternalError);
  EXPECT_THROW(writer.write(std::vector<int32_t>{-1}), core::InternalError);
  EXPECT_THROW(ShardWriter(folder.path(), "train", 100, int64_t{1} << 31, 0, nothing), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::data
