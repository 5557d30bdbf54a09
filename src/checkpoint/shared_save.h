// One checkpoint that all ranks write together: rank 0 owns the directory, the others add the files that hold
// their share of the moments. Knows no formats. A rank writes beside the name that it knows itself: whatever
// stands in the store, no file of it comes elsewhere.
#pragma once

#include "checkpoint/manifest.h"
#include "parallel/exchange.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace ssgpt::checkpoint {

class SharedSave {
 public:
  // `directory`: the name that the checkpoint will have, the same on all ranks. `number`: the same on all
  // ranks and another one for each save on this exchange, which must outlive this.
  SharedSave(parallel::Exchange& exchange, std::filesystem::path directory, int64_t number);

  int64_t rank() const { return exchange_.rank(); }
  int64_t world_size() const { return exchange_.world_size(); }

  // Rank 0: tells the others the name of the temporary directory beside the final one.
  void open(const std::filesystem::path& temporary);
  // Rank 0: waits for the files of the others and lists them. Throws parallel::PeerFailure where one fails,
  // core::RunError where what it says of its file is no digest.
  void collect(Manifest& manifest);

  // The others: the directory that rank 0 made, waited for. Throws core::RunError where this rank does not
  // see it, or where its name is not that of a temporary directory of this checkpoint.
  std::filesystem::path temporary();
  // The others: tells rank 0 of this rank's file, complete on disk.
  void add(const FileDigest& digest);

 private:
  parallel::Exchange& exchange_;
  std::filesystem::path directory_;
  std::string temporary_name_;  // on the exchange
  std::string digest_name_;
};

}  // namespace ssgpt::checkpoint
