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

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::write_file;

void run_python(const TemporaryDirectory& folder, const std::string& script) {
  write_file(folder / "make.py", script);
  const std::string command =
      fmt::format("{} {} {}", SSGPT_PYTHON, (folder / "make.py").string(), folder.path().string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

// 35615 is the bytes 1F 8B, and a token of the form 0x..08 behind it gives gzip's method: all 256 of them,
// each before other tokens. nanoGPT makes its shards with numpy's tofile, as here.
TEST(GzipMagic, TokensThatBeginLikeItAreRead) {
  const TemporaryDirectory folder;
  run_python(folder, R"(
import sys
import numpy as np
rng = np.random.default_rng(3)
for second in range(8, 65536, 256):
    tokens = rng.integers(0, 65536, 1000).astype(np.uint16)
    tokens[:2] = 35615, second
    tokens.tofile(f"{sys.argv[1]}/{second}.bin")
np.full(1000, 35615, np.uint16).tofile(f"{sys.argv[1]}/same.bin")
)");
  for (int32_t second = 8; second < 65536; second += 256) {
    const TokenShard shard(folder / (std::to_string(second) + ".bin"));
    EXPECT_EQ(shard.format(), ShardFormat::kRaw16);
    std::vector<int32_t> tokens(2);
    shard.read(0, tokens);
    EXPECT_EQ(tokens, (std::vector<int32_t>{35'615, second}));
  }
  EXPECT_EQ(TokenShard(folder / "same.bin").num_tokens(), 1000);
}

// All that Python and the command gzip make of some data: levels, stored blocks, names and times in the
// header.
TEST(GzipMagic, GzipFilesAreRefused) {
  const TemporaryDirectory folder;
  run_python(folder, R"(
import gzip, os, subprocess, sys, zlib
folder = sys.argv[1]
os.mkdir(f"{folder}/gz")
data = {"text": b"In the beginning " * 999, "noise": os.urandom(4000), "zeros": bytes(9000), "short": b"a", "empty": b""}
for name, content in data.items():
    for level in range(10):
        with open(f"{folder}/gz/{name}{level}.bin", "wb") as f:
            f.write(gzip.compress(content, level))
        with gzip.open(f"{folder}/gz/{name}{level}named.bin", "wb", level) as f:
            f.write(content)
    open(f"{folder}/{name}", "wb").write(content)
    for option in ("-1", "-n", "-9"):
        with open(f"{folder}/gz/{name}{option}.bin", "wb") as f:
            subprocess.run(["gzip", "-c", option, f"{folder}/{name}"], stdout=f, check=True)
)");
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "gz")) {
    EXPECT_THAT(message_of<core::InputError>([&] { TokenShard shard(entry.path()); }),
                HasSubstr("a gzip file"))
        << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 5 * 23);
}

}  // namespace
}  // namespace ssgpt::data
