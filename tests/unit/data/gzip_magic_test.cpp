// Raw uint16 tokens have no header: what tells them from a gzip file.

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/token_source.h"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::little_endian;
using testing::message_of;
using testing::write_file;

TEST(GzipMagic, TokensThatBeginWithItsTwoBytesAreRead) {
  const TemporaryDirectory folder;
  // 35615 is the bytes 1F 8B; 0xE008 behind it gives gzip's method, but flags that are reserved.
  for (const uint64_t second : {uint64_t{11}, uint64_t{50'256}, uint64_t{0xE008}}) {
    std::string bytes;
    for (int i = 0; i < 50; ++i) {
      bytes += little_endian(35'615, 2) + little_endian(second, 2);
    }
    write_file(folder / "tokens.bin", bytes);
    const TokenShard shard(folder / "tokens.bin");
    EXPECT_EQ(shard.format(), ShardFormat::kRaw16);
    std::vector<int32_t> tokens(2);
    shard.read(0, tokens);
    EXPECT_EQ(tokens, (std::vector<int32_t>{35'615, static_cast<int32_t>(second)}));
  }
}

TEST(GzipMagic, GzipFilesAreRefused) {
  const TemporaryDirectory folder;
  write_file(folder / "make.py", R"(
import gzip, sys
folder = sys.argv[1]
data = bytes(range(256)) * 40
open(f"{folder}/plain.bin", "wb").write(gzip.compress(data, mtime=0))
with gzip.open(f"{folder}/named.bin", "wb") as f:  # its header holds the file's name
    f.write(data)
)");
  const std::string command =
      std::string(SSGPT_PYTHON) + " " + (folder / "make.py").string() + " " + folder.path().string();
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  for (const char* name : {"plain.bin", "named.bin"}) {
    EXPECT_THAT(message_of<core::InputError>([&] { TokenShard shard(folder / name); }),
                HasSubstr("a gzip file"));
  }
}

}  // namespace
}  // namespace ssgpt::data
