// The files of a run directory that describe the run, and the lock that keeps a second process out.
#pragma once

#include "config/config.h"
#include "train/gpu.h"

#include <filesystem>
#include <optional>
#include <string>

namespace ssgpt::train {

// run.json: what, where and by whom the run was made.
struct RunRecord {
  std::string run_id;
  std::string command_line;
  std::string data_fingerprint;        // of the training shards
  std::string validation_fingerprint;  // of the validation shards; empty where there are none
  int64_t validation_windows = 0;      // that one validation reads
  // Validation losses of steps up to this one may be of other shards or windows than the two above.
  int64_t validation_since = 0;
  int64_t num_parameters = 0;
  std::optional<int64_t> first_step;  // finished updates when the run began: above 0 for a fork
  std::optional<std::string> parent;  // the checkpoint that a fork or --init-from started from
  std::optional<config::SwapAttention> manual_swap;  // the last swap by --swap-attention
};

std::filesystem::path config_path(const std::filesystem::path& run_directory);   // RUN/config.yaml
std::filesystem::path record_path(const std::filesystem::path& run_directory);   // RUN/run.json
std::filesystem::path metrics_path(const std::filesystem::path& run_directory);  // RUN/metrics.jsonl
std::filesystem::path samples_path(const std::filesystem::path& run_directory);  // RUN/samples.jsonl
std::filesystem::path log_path(const std::filesystem::path& run_directory);      // RUN/log.txt

// Whether the directory holds a run, finished or not.
bool holds_run(const std::filesystem::path& run_directory);

// What run.json holds, with the command line that began the run; none where there is no run. Throws
// core::InputError for a file that is not a run record.
std::optional<RunRecord> read_run_record(const std::filesystem::path& run_directory);

// Gives `record`, of a run that goes on after step `step`, what `earlier` says about its beginning and its
// validation losses so far.
void inherit(const RunRecord& earlier, int64_t step, RunRecord& record);

std::string new_run_id();  // 16 hexadecimal digits from the system's randomness

// Writes config.yaml and run.json (with revision, library versions and hardware), atomically. The record of a
// run that is continued keeps its first command line and gains this one. num_ranks: of processes that train.
// gpu: that rank 0 computes on, if any.
void write_run_files(const std::filesystem::path& run_directory, const config::Config& config,
                     const RunRecord& record, int64_t num_ranks, const std::optional<GpuDescription>& gpu);

// Held while a process trains into the directory; released by the system when the process ends, however it
// ends.
class RunLock {
 public:
  // Throws core::UsageError where another process holds it.
  explicit RunLock(const std::filesystem::path& run_directory);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace ssgpt::train
