#include "bench/random_tokens.h"

#include "core/error.h"
#include "core/random.h"
#include "core/system_message.h"
#include "data/shard_writer.h"

#include <cerrno>
#include <filesystem>
#include <stdlib.h>
#include <string>
#include <system_error>
#include <vector>

namespace ssgpt::bench {
namespace {

// Deletes the directory and its contents on destruction.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "ssgpt-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw core::RunError("{}: no directory for the benchmark's tokens can be made: {}. Set TMPDIR.", name,
                           core::system_message(errno));
    }
    path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace

data::TokenSource random_tokens(int64_t num_tokens, int64_t vocab_size) {
  const uint64_t key = core::stream_key(/*seed=*/1, "benchmark tokens");
  std::vector<int32_t> tokens(static_cast<size_t>(num_tokens));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>(core::random_bits(key, i) % static_cast<uint64_t>(vocab_size));
  }
  const TemporaryDirectory directory;
  data::ShardWriter writer(directory.path(), "bench", vocab_size, num_tokens, /*first_number=*/0,
                           [](const data::WrittenShard&) {});
  writer.write(tokens);
  writer.finish();
  return data::TokenSource({directory.path() / "bench_000000.bin"});
}

}  // namespace ssgpt::bench
