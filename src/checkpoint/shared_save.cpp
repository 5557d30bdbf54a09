#include "checkpoint/shared_save.h"

#include "checkpoint/optimizer_files.h"
#include "core/check.h"
#include "core/error.h"

#include <sstream>

#include <fmt/format.h>

namespace ssgpt::checkpoint {

SharedSave::SharedSave(parallel::Board& board, int64_t number)
    : board_(board),
      directory_name_(fmt::format("checkpoint/{}/directory", number)),
      digest_name_(fmt::format("checkpoint/{}/digest", number)) {}

void SharedSave::open(const std::filesystem::path& directory) {
  board_.post(directory_name_, std::filesystem::absolute(directory).string());
}

void SharedSave::collect(Manifest& manifest) {
  for (int64_t rank = 1; rank < world_size(); ++rank) {
    std::istringstream text(board_.read(digest_name_, rank));
    FileDigest digest;
    text >> digest.size >> digest.checksum;
    SSGPT_CHECK(!text.fail(), "rank {} posted '{}' as the digest of its file", rank, text.str());
    manifest.files[optimizer_file_name(rank, world_size())] = digest;
  }
}

std::filesystem::path SharedSave::directory() {
  const std::filesystem::path directory = board_.read(directory_name_, 0);
  if (!std::filesystem::is_directory(directory)) {
    throw core::RunError(
        "rank 0 made the directory {}, which is not there for rank {}: the run directory must be on a file "
        "system "
        "that all ranks share (where rank 0 has failed meanwhile, its own message says why)",
        directory.string(), rank());
  }
  return directory;
}

void SharedSave::add(const FileDigest& digest) {
  board_.post(digest_name_, fmt::format("{} {}", digest.size, digest.checksum));
}

}  // namespace ssgpt::checkpoint
