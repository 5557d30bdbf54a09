// One checkpoint that all ranks write together: rank 0 owns the directory, the others add the files that hold
// their share of the moments. Knows no formats.
#pragma once

#include "checkpoint/manifest.h"
#include "parallel/board.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace ssgpt::checkpoint {

class SharedSave {
 public:
  // `number`: the same on all ranks and another one for each save on this board, which must outlive this.
  SharedSave(parallel::Board& board, int64_t number);

  int64_t rank() const { return board_.rank(); }
  int64_t world_size() const { return board_.world_size(); }

  // Rank 0: shows the others where to write.
  void open(const std::filesystem::path& directory);
  // Rank 0: waits for the files of the others and lists them. Throws parallel::PeerFailure where one fails.
  void collect(Manifest& manifest);

  // The others: the directory of rank 0, waited for. Throws core::RunError where this rank does not see it.
  std::filesystem::path directory();
  // The others: tells rank 0 of this rank's file, complete on disk.
  void add(const FileDigest& digest);

 private:
  parallel::Board& board_;
  std::string directory_name_;  // on the board
  std::string digest_name_;
};

}  // namespace ssgpt::checkpoint
