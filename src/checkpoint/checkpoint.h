// Checkpoints on disk: a Hugging Face model directory with a trainer/ folder, written atomically, with a
// manifest of checksums that is written last. A directory without manifest.json is no checkpoint.
#pragma once

#include "checkpoint/state.h"
#include "parallel/exchange.h"
#include "run/directory.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::checkpoint {

// Writes `snapshot` as the new directory `directory`. Throws core::RunError (full disk, not writable, exists
// already, an element that is NaN or infinite); then nothing is left under that name.
void write(const std::filesystem::path& directory, const Snapshot& snapshot);

// Reads a checkpoint back. Checks the manifest's sizes, and its checksums where `verify` is set.
// `with_optimizer` also reads the moments of a checkpoint that a trainer wrote. Throws core::InputError that
// names the file and what is wrong with it, before memory is taken for tensors that are not there, and the
// first element that is NaN or infinite.
// `verify` false spares the second hashing of what was hashed just now: a directory out of find_newest_valid,
// or one without faults by verify().
Snapshot read(const std::filesystem::path& directory, bool with_optimizer, bool verify = true);

// Reads only the JSON files and the names of the others, which is cheap. Checks the checksums of these JSON
// files before it parses them. Throws core::InputError.
struct Summary {
  model::GPTSpec spec;
  std::optional<TrainerState> trainer;
  int64_t num_optimizer_files = 0;  // one for each rank that held a share of the moments
  std::optional<std::filesystem::path> tokenizer;
};
Summary read_summary(const std::filesystem::path& directory);

// Checks every file against the manifest; returns the faults, one line each.
std::vector<std::string> verify(const std::filesystem::path& directory);

// The newest checkpoint of a run that verifies; a damaged newer one is reported as a warning and passed over.
// None where the run has no checkpoint directory at all; throws core::InputError where there are some and
// none verifies. Hashes all files of what it returns: read it with `verify` false.
std::optional<run::Checkpoint> find_newest_valid(const run::RunDirectory& directory);

struct Retention {
  int64_t keep_last = 2;
  int64_t keep_every = 0;
};

// Saves in the background. Owned and called by one thread of each rank.
class Writer {
 public:
  // `exchange`: this Writer's own, of all ranks of the run.
  Writer(run::RunDirectory run_directory, const Retention& retention, bool async, bool verify,
         std::unique_ptr<parallel::Exchange> exchange = std::make_unique<parallel::Exchange>());
  ~Writer();  // waits; a failure that nobody fetched is logged

  // Copies the flat tensors of `live` (any device) into staging memory, waiting for an earlier save first,
  // and writes them as step-N of live.trainer->step, verifies it by reading it back where asked, then applies
  // the retention: older ones go only after a newer one is complete. Rethrows the failure of an earlier save
  // (core::RunError, or parallel::PeerFailure where another rank failed).
  //
  // Called on every rank at the same step. Where the ranks hold whole moments rank 0 writes alone; where each
  // has its moment_ranges, each writes its own optimizer file, into a directory that all must see. Rank 0
  // completes the checkpoint: the save of another rank is over before it has its name.
  void save(const Snapshot& live);

  // Waits for the save under way. Rethrows its failure.
  void wait();

  // Rethrows the failure of a save that has ended; does not wait. Called between steps, so that a full disk
  // is told of at once, and the ranks that wait for this one do not wait in vain.
  void check();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::checkpoint
