// A run on disk: the paths of its files, its checkpoints, and the lock of the process that trains it. Knows
// names, not contents: for those see record.h and metrics_line.h, and src/checkpoint for checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace ssgpt::run {

// The file that marks a checkpoint as complete: it is written last.
inline constexpr const char* kManifestName = "manifest.json";
// Prefix of the names of TensorBoard event files.
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

  // Whether a run, finished or not, has written here: run.json is its first file, and nothing else creates
  // checkpoints. Throws core::ReadError.
  bool holds_run() const;

  // All directories named like checkpoints, with or without a manifest, in ascending order of step. Throws
  // core::ReadError where the checkpoints folder cannot be listed.
  std::vector<Checkpoint> named_checkpoints() const;

  // The same, only those with a manifest.
  std::vector<Checkpoint> complete_checkpoints() const;

 private:
  std::filesystem::path path_;
};

// The newest complete checkpoint of the run in `path`; nullopt if no run is there. Throws core::InputError if
// the run has no such checkpoint yet, core::ReadError as complete_checkpoints does.
std::optional<Checkpoint> newest_checkpoint(const std::filesystem::path& path);

// RUN for RUN/checkpoints/step-..., else the directory itself.
std::filesystem::path run_of(const std::filesystem::path& checkpoint);

// Lock on a run's or a sweep's directory while a process works on it. The system releases it when the process
// ends, however it ends.
class Lock {
 public:
  // `work` says in messages what the process does with the directory. Throws core::UsageError where another
  // process holds the lock, core::RunError where its file cannot be opened or locked. In a run shared by a
  // group, the file may belong to another user and be read-only for this one.
  explicit Lock(const RunDirectory& directory, std::string_view work = "training into");
  ~Lock();
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int descriptor_ = -1;
};

// Whether a process holds the directory's lock, on any machine that shares locks through this file system.
bool is_locked(const RunDirectory& directory);

}  // namespace ssgpt::run
