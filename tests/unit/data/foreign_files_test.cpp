// Files as other programs make them: written by numpy, and Megatron's pair by its published layout.

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/token_source.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::little_endian;
using testing::write_file;

std::vector<int32_t> read_all(const std::filesystem::path& path) {
  const TokenSource source({path});
  std::vector<int32_t> tokens(static_cast<size_t>(source.num_tokens()));
  source.read(0, tokens, 2'000'000'000);
  return tokens;
}

// As llm.c's dev/data/data_common.py and nanoGPT's prepare.py write their files.
TEST(NumpyFiles, AreReadInAllThreeFormats) {
  const TemporaryDirectory folder;
  write_file(folder / "make.py", R"(
import sys, numpy as np
folder = sys.argv[1]
i = np.arange(5000, dtype=np.int64)
def llmc(name, magic, version, tokens):
    header = np.zeros(256, dtype=np.int32)
    header[0], header[1], header[2] = magic, version, len(tokens)
    with open(f"{folder}/{name}", "wb") as f:
        f.write(header.tobytes()); f.write(tokens.tobytes())
llmc("gpt2.bin", 20240520, 1, (i * 13 % 50257).astype(np.uint16))
llmc("llama3.bin", 20240801, 7, (i * 26713 % 128256).astype(np.uint32))
(i * 7 % 50257).astype(np.uint16).tofile(f"{folder}/nano.bin")
)");
  const std::string command =
      fmt::format("{} {} {}", SSGPT_PYTHON, (folder / "make.py").string(), folder.path().string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const auto gpt2 = read_all(folder / "gpt2.bin");
  const auto llama3 = read_all(folder / "llama3.bin");
  const auto nano = read_all(folder / "nano.bin");
  ASSERT_EQ(gpt2.size(), 5000u);
  ASSERT_EQ(llama3.size(), 5000u);
  ASSERT_EQ(nano.size(), 5000u);
  for (int32_t i = 0; i < 5000; ++i) {
    const auto at = static_cast<size_t>(i);
    ASSERT_EQ(gpt2[at], i * 13 % 50257);
    ASSERT_EQ(llama3[at], i * 26713 % 128256);
    ASSERT_EQ(nano[at], i * 7 % 50257);
  }
}

// megatron/core/datasets/indexed_dataset.py: magic, uint64 version, uint8 dtype code, uint64 number of
// sequences, uint64 number of documents, int32 lengths, int64 byte offsets, int64 document boundaries.
std::string megatron_index(int dtype, const std::vector<uint64_t>& lengths, uint64_t token_bytes) {
  std::string index = std::string("MMIDIDX\0\0", 9) + little_endian(1, 8) +
                      little_endian(static_cast<uint64_t>(dtype), 1) + little_endian(lengths.size(), 8) +
                      little_endian(lengths.size() + 1, 8);
  std::string offsets;
  std::string documents = little_endian(0, 8);
  uint64_t offset = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    index += little_endian(lengths[i], 4);
    offsets += little_endian(offset, 8);
    documents += little_endian(i + 1, 8);
    offset += lengths[i] * token_bytes;
  }
  return index + offsets + documents;
}

std::string tokens_as(const std::vector<uint32_t>& tokens, int token_bytes) {
  std::string bytes;
  for (const uint32_t token : tokens) {
    bytes += little_endian(token, token_bytes);
  }
  return bytes;
}

TEST(MegatronFiles, AreReadInBothWidths) {
  const TemporaryDirectory folder;
  const std::vector<uint32_t> small = {5, 6, 7, 60'000, 9, 10};
  const std::vector<uint32_t> large = {5, 100'000, 7, 8, 9, 128'255};
  write_file(folder / "s.bin", tokens_as(small, 2));
  write_file(folder / "s.idx", megatron_index(8, {1, 3, 2}, 2));
  write_file(folder / "l.bin", tokens_as(large, 4));
  write_file(folder / "l.idx", megatron_index(4, {6}, 4));
  EXPECT_EQ(TokenShard(folder / "s.bin").format(), ShardFormat::kMegatron);
  EXPECT_EQ(read_all(folder / "s.bin"), (std::vector<int32_t>{5, 6, 7, 60'000, 9, 10}));
  EXPECT_EQ(read_all(folder / "l.bin"), (std::vector<int32_t>{5, 100'000, 7, 8, 9, 128'255}));
}

TEST(MegatronFiles, ThatDoNotFitTogetherAreRefused) {
  const TemporaryDirectory folder;
  const std::string tokens = tokens_as({1, 2, 3, 4}, 2);
  const auto refusal = [&](const std::string& index, const std::string& bin) {
    write_file(folder / "m.idx", index);
    write_file(folder / "m.bin", bin);
    return message_of<core::InputError>([&] { TokenShard shard(folder / "m.bin"); });
  };
  const std::string good = megatron_index(8, {2, 2}, 2);
  EXPECT_THAT(refusal(good, tokens.substr(0, 6)), HasSubstr("truncated"));
  EXPECT_THAT(refusal(good.substr(0, good.size() - 8), tokens), HasSubstr("truncated"));
  EXPECT_THAT(refusal("not an index", tokens), HasSubstr("not a Megatron index"));
  EXPECT_THAT(refusal(megatron_index(5, {2, 2}, 2), tokens), HasSubstr("dtype code 5"));
  std::string version = good;
  version[9] = 2;
  EXPECT_THAT(refusal(version, tokens), HasSubstr("version 2"));
  std::string shuffled = good;
  shuffled[34 + 8] = 2;  // the first sequence's offset
  EXPECT_THAT(refusal(shuffled, tokens), HasSubstr("does not follow"));
  write_file(folder / "m.idx", good);
  EXPECT_THAT(message_of<core::InputError>([&] { TokenShard shard(folder / "m.idx"); }),
              HasSubstr("give the .bin"));
}

}  // namespace
}  // namespace ssgpt::data
