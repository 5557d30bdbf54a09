#include "checkpoint/shared_save.h"

#include "checkpoint/optimizer_files.h"
#include "core/error.h"
#include "core/file.h"
#include "parallel/error_text.h"

#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::checkpoint {
namespace {

std::string text_of(const FileDigest& digest) {
  return fmt::format("{} {}", digest.size, digest.checksum);
}

}  // namespace

SharedSave::SharedSave(parallel::Exchange& exchange, std::filesystem::path directory, int64_t number)
    : exchange_(exchange),
      directory_(std::move(directory)),
      temporary_name_(fmt::format("checkpoint/{}/temporary", number)),
      digest_name_(fmt::format("checkpoint/{}/digest", number)) {}

void SharedSave::open(const std::filesystem::path& temporary) {
  exchange_.post(temporary_name_, temporary.filename().string());
}

void SharedSave::collect(Manifest& manifest) {
  for (int64_t rank = 1; rank < world_size(); ++rank) {
    const std::string posted = exchange_.read(digest_name_, rank);
    std::istringstream text(posted);
    FileDigest digest;
    text >> digest.size >> digest.checksum;
    if (text.fail() || posted != text_of(digest)) {
      throw core::RunError(
          "what the store holds as the digest of rank {}'s file is none, so this rank did not write it: {}",
          rank, parallel::kStrangerInStore);
    }
    manifest.files[optimizer_file_name(rank, world_size())] = digest;
  }
}

std::filesystem::path SharedSave::temporary() {
  const std::string name = exchange_.read(temporary_name_, 0);
  if (!core::AtomicDirectory::is_temporary_name(name, directory_.filename().string())) {
    throw core::RunError(
        "what the store holds as rank 0's folder for the checkpoint {} is not the name of one, so rank 0 did "
        "not write it: {}",
        directory_.string(), parallel::kStrangerInStore);
  }
  const std::filesystem::path temporary = directory_.parent_path() / name;
  if (!std::filesystem::is_directory(core::link_status(temporary))) {
    throw core::RunError(
        "rank 0 made the directory {}, which is not there for rank {}: the run directory must be on a file "
        "system that all ranks share (where rank 0 has failed meanwhile, its own message says why)",
        temporary.string(), rank());
  }
  return temporary;
}

void SharedSave::add(const FileDigest& digest) {
  exchange_.post(digest_name_, text_of(digest));
}

}  // namespace ssgpt::checkpoint
