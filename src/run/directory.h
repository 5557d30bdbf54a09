// A run on disk: where its files stand, which checkpoints it has, and who trains into it. Knows names, not
// contents: the record and the metrics have files of their own here, checkpoints a folder (src/checkpoint).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

namespace ssgpt::run {

// The file that makes a directory a complete checkpoint: it is written last.
inline constexpr const char* kManifestName = "manifest.json";
// How the names of TensorBoard's files begin.
inline constexpr const char* kEventsPrefix = "events.out.tfevents.";

// RUN/checkpoints/step-XXXXXXXX.
struct Checkpoint {
  int64_t step = 0;
  std::filesystem::path directory;
};

class RunDirectory {
 public:
  RunDirectory() = default;
  explicit RunDirectory(std::filesystem::path path) : path_(std::move(path)) {}

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path config() const { return path_ / "config.yaml"; }
  std::filesystem::path record() const { return path_ / "run.json"; }
  std::filesystem::path metrics() const { return path_ / "metrics.jsonl"; }
  std::filesystem::path samples() const { return path_ / "samples.jsonl"; }
  std::filesystem::path log() const { return path_ / "log.txt"; }
  std::filesystem::path lock() const { return path_ / ".lock"; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }
  std::filesystem::path checkpoint(int64_t step) const;

  // Whether a training wrote here, finished or not: run.json is the first file of a run, and checkpoints are
  // nobody else's. Throws core::ReadError.
  bool holds_run() const;

  // Every directory that is named as a checkpoint, with a manifest or without, by rising step. Throws
  // core::ReadError where the folder of the checkpoints cannot be listed.
  std::vector<Checkpoint> named_checkpoints() const;

  // Those of them that have a manifest.
  std::vector<Checkpoint> complete_checkpoints() const;

 private:
  std::filesystem::path path_;
};

// RUN of RUN/checkpoints/step-..., else the directory itself.
std::filesystem::path run_of(const std::filesystem::path& checkpoint);

// Held while a process works on the directory, a run's or a sweep's; released by the system when the process
// ends, however it ends.
class Lock {
 public:
  // `work`: what the process does with the directory, for the message. Throws core::UsageError where another
  // process holds it, core::RunError where its file cannot be opened or locked. Of a run that a group shares
  // the file may be another user's, which this one may only read.
  explicit Lock(const RunDirectory& directory, std::string_view work = "training into");
  ~Lock();
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int descriptor_ = -1;
};

// Whether a process holds the lock of the directory, on any machine whose locks this file system shares.
bool is_locked(const RunDirectory& directory);

}  // namespace ssgpt::run
