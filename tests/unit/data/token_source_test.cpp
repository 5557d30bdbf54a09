#include "data/token_source.h"

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"

#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::llmc_file;
using testing::pattern_tokens;
using testing::write_file;

std::vector<uint32_t> read_all(const TokenShard& shard) {
  std::vector<int32_t> tokens(static_cast<size_t>(shard.num_tokens()));
  shard.read(0, tokens);
  return {tokens.begin(), tokens.end()};
}

TEST(TokenShard, ReadsBothLlmcVersions) {
  const TemporaryDirectory folder;
  const auto small = pattern_tokens(50'000, 65'536);
  const auto large = pattern_tokens(50'000, 2'000'000'000);
  write_file(folder / "a.bin", llmc_file(20240520, 1, 50'000, small, 2));
  write_file(folder / "b.bin", llmc_file(20240801, 7, 50'000, large, 4));
  const TokenShard a(folder / "a.bin");
  EXPECT_EQ(a.format(), ShardFormat::kLlmc16);
  EXPECT_EQ(read_all(a), small);
  const TokenShard b(folder / "b.bin");
  EXPECT_EQ(b.format(), ShardFormat::kLlmc32);
  EXPECT_EQ(read_all(b), large);
}

TEST(TokenSource, JoinsShardsOfAllFormatsAndReadsAcrossThem) {
  const TemporaryDirectory folder;
  const auto tokens = pattern_tokens(300, 60'000);
  std::string raw;
  for (size_t i = 100; i < 200; ++i) {
    raw += testing::little_endian(tokens[i], 2);
  }
  write_file(folder / "a.bin", llmc_file(20240520, 1, 100, {tokens.begin(), tokens.begin() + 100}, 2));
  write_file(folder / "b.bin", raw);
  write_file(folder / "c.bin", llmc_file(20240801, 7, 100, {tokens.begin() + 200, tokens.end()}, 4));
  const TokenSource source({folder / "a.bin", folder / "b.bin", folder / "c.bin"});
  ASSERT_EQ(source.num_tokens(), 300);
  EXPECT_EQ(source.shards()[1].format(), ShardFormat::kRaw16);
  for (const auto& [first, count] : std::vector<std::pair<size_t, size_t>>{
           {0, 300}, {99, 2}, {100, 100}, {150, 149}, {299, 1}, {200, 0}}) {
    std::vector<int32_t> out(count);
    source.read(static_cast<int64_t>(first), out, 60'000);
    for (size_t i = 0; i < count; ++i) {
      ASSERT_EQ(out[i], static_cast<int32_t>(tokens[first + i])) << first << " + " << i;
    }
  }
}

TEST(TokenSource, CountsWindowsWithTheTokenAfterThem) {
  const TemporaryDirectory folder;
  write_file(folder / "a.bin", llmc_file(20240520, 1, 101, pattern_tokens(101, 100), 2));
  const TokenSource source({folder / "a.bin"});
  EXPECT_EQ(source.num_windows(10), 10);
  EXPECT_EQ(source.num_windows(11), 9);
  EXPECT_EQ(source.num_windows(100), 1);
  EXPECT_THAT(message_of<core::InputError>([&] { source.num_windows(101); }), HasSubstr("102"));
}

TEST(TokenSource, IdsOutsideTheVocabularyNameShardAndPosition) {
  const TemporaryDirectory folder;
  write_file(folder / "a.bin", llmc_file(20240520, 1, 3, {1, 2, 3}, 2));
  write_file(folder / "b.bin", llmc_file(20240801, 7, 4, {1, 2, 100, 3'000'000'000}, 4));
  const TokenSource source({folder / "a.bin", folder / "b.bin"});
  std::vector<int32_t> out(6);
  source.read(0, out, 101);
  const std::string low = message_of<core::InputError>([&] { source.read(0, out, 100); });
  EXPECT_THAT(low, HasSubstr("b.bin: token 2 has id 100"));
  std::vector<int32_t> last(1);
  const std::string high = message_of<core::InputError>([&] { source.read(6, last, INT32_MAX); });
  EXPECT_THAT(high, HasSubstr("token 3 has id 3000000000"));
}

TEST(TokenSource, FingerprintSeesCountsAndTokensButNotPaths) {
  const TemporaryDirectory folder;
  auto tokens = pattern_tokens(10'000, 60'000);
  write_file(folder / "a.bin", llmc_file(20240520, 1, 10'000, tokens, 2));
  write_file(folder / "same.bin", llmc_file(20240520, 1, 10'000, tokens, 2));
  ++tokens.back();
  write_file(folder / "other.bin", llmc_file(20240520, 1, 10'000, tokens, 2));
  const auto fingerprint = [&](const std::vector<std::string>& names) {
    std::vector<std::filesystem::path> paths;
    for (const std::string& name : names) {
      paths.push_back(folder / name);
    }
    return TokenSource(paths).fingerprint();
  };
  EXPECT_EQ(fingerprint({"a.bin"}), fingerprint({"same.bin"}));
  EXPECT_NE(fingerprint({"a.bin"}), fingerprint({"other.bin"}));
  EXPECT_NE(fingerprint({"a.bin", "other.bin"}), fingerprint({"other.bin", "a.bin"}));
  EXPECT_NE(fingerprint({"a.bin"}), fingerprint({"a.bin", "same.bin"}));
}

// A sparse file: takes no space on the disk.
TEST(TokenSource, ReadsBeyondFourGigabytes) {
  const TemporaryDirectory folder;
  constexpr int64_t kTokens = (int64_t{1} << 32) + 5000;  // 8 GiB of uint16
  constexpr int64_t kPlace = (int64_t{1} << 32) + 1234;
  const std::filesystem::path path = folder / "sparse.bin";
  write_file(path, "");
  const int descriptor = ::open(path.c_str(), O_WRONLY);
  ASSERT_EQ(::ftruncate(descriptor, kTokens * 2), 0) << "the file system has no sparse files";
  const std::vector<uint16_t> marks = {111, 222, 333};
  ASSERT_EQ(::pwrite(descriptor, marks.data(), 6, kPlace * 2), 6);
  ::close(descriptor);

  write_file(folder / "first.bin", llmc_file(20240520, 1, 2, {7, 8}, 2));
  const TokenSource source({folder / "first.bin", path});
  EXPECT_EQ(source.num_tokens(), kTokens + 2);
  std::vector<int32_t> out(5);
  source.read(2 + kPlace - 1, out, 1000);
  EXPECT_EQ(out, (std::vector<int32_t>{0, 111, 222, 333, 0}));
  EXPECT_EQ(source.num_windows(1024), (kTokens + 1) / 1024);
}

TEST(TokenSource, ShrunkFileIsAnInputError) {
  const TemporaryDirectory folder;
  write_file(folder / "a.bin", llmc_file(20240520, 1, 1000, pattern_tokens(1000, 100), 2));
  const TokenSource source({folder / "a.bin"});
  std::filesystem::resize_file(folder / "a.bin", 1500);
  std::vector<int32_t> out(10);
  source.read(0, out, 100);
  EXPECT_THAT(message_of<core::InputError>([&] { source.read(500, out, 100); }), HasSubstr("a.bin"));
}

struct BadFile {
  std::string name;
  std::string bytes;
  std::string message;
};

class BadShard : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadShard, IsRefusedWithAReason) {
  const TemporaryDirectory folder;
  write_file(folder / GetParam().name, GetParam().bytes);
  const std::string message =
      message_of<core::InputError>([&] { TokenShard shard(folder / GetParam().name); });
  EXPECT_THAT(message, HasSubstr(GetParam().message));
  EXPECT_THAT(message, HasSubstr(GetParam().name));
}

const std::string kGood = llmc_file(20240520, 1, 100, pattern_tokens(100, 100), 2);

INSTANTIATE_TEST_SUITE_P(
    Files, BadShard,
    ::testing::Values(
        BadFile{"empty.bin", "", "empty"}, BadFile{"cut.bin", kGood.substr(0, 1100), "truncated"},
        BadFile{"header.bin", kGood.substr(0, 500), "inside its header"},
        BadFile{"long.bin", kGood + "xx", "something after"},
        BadFile{"none.bin", llmc_file(20240520, 1, 0, {}, 2), "0 tokens"},
        BadFile{"negative.bin", llmc_file(20240520, 1, -5, {}, 2), "-5 tokens"},
        BadFile{"version.bin", llmc_file(20240520, 2, 1, {1}, 2), "version 2"},
        BadFile{"version32.bin", llmc_file(20240801, 1, 1, {1}, 4), "version 1"},
        BadFile{"text.txt", std::string(200, 'a'), "text"},
        BadFile{"text.bin", "It was the best of times, it was the worst of times, it was the age of wisdom",
                "text"},
        // An empty file, compressed by gzip.
        BadFile{"packed.bin", std::string("\x1F\x8B\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0", 20), "gzip"},
        BadFile{"packed.zst", "\x28\xB5\x2F\xFD...", "zstd"}, BadFile{"array.npy", "\x93NUMPY\x01", "NumPy"},
        BadFile{"odd.bin", std::string("\1\0\2", 3), "whole number"},
        BadFile{"raw.tok", std::string("\1\0\2\0", 4), "not a token shard"}),
    [](const auto& bad) { return std::to_string(bad.index); });

TEST(TokenShard, MissingFilesAndFoldersAreInputErrors) {
  const TemporaryDirectory folder;
  EXPECT_THROW(TokenShard(folder / "missing.bin"), core::InputError);
  EXPECT_THROW(TokenShard(folder.path()), core::InputError);
  EXPECT_THROW(TokenSource(std::vector<std::filesystem::path>()), core::InputError);
}

}  // namespace
}  // namespace ssgpt::data
