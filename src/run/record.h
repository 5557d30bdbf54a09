// run.json: a run's identity and origin, and the program and machine that made it. The only reader and
// writer.
#pragma once

#include "config/config.h"
#include "core/json_fields.h"
#include "device/machine.h"
#include "run/beginning.h"
#include "run/directory.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::run {

// One process that trained this run, from start to end.
struct Session {
  std::string started;  // UTC, "2026-01-31T12:00:00Z"
  std::string command;  // its command line
  std::string revision;
  std::string host;
  int64_t ranks = 1;
  int64_t threads = 0;  // per rank
  std::string gpu;      // GPU name on rank 0; empty: none
};

struct Record {
  std::string run_id;
  std::string name;
  std::string command;  // command line that started the run
  int64_t num_parameters = 0;
  std::string data_fingerprint;            // of the training data
  std::string tokenizer_fingerprint = {};  // checksum of its file; empty: none or unknown
  Beginning beginning = {};
  std::vector<Session> sessions;  // in order of start
};

std::string new_run_id();  // 16 hexadecimal digits from the system's random source

// Describes a session of this program that starts now.
Session new_session(const std::string& command, int64_t ranks, const device::Machine& machine);

// Whether run.json exists and is a run's record, rather than an unrelated file of that name. Throws
// core::ReadError.
bool is_record(const RunDirectory& directory);

// Reads run.json; fields that an earlier version did not write stay empty. nullopt where there is no
// run.json. Throws core::InputError naming file and field where it is not a run's record.
std::optional<Record> read_record(const RunDirectory& directory);

// A run, and one of its checkpoints.
struct Keeper {
  RunDirectory directory;
  std::filesystem::path checkpoint;  // absolute, in this directory
  Record record;
};

// The run of this id that keeps the checkpoint in `checkpoint`: RUN where the path as it is written, from the
// current folder, or the one that its links lead to, is RUN/checkpoints/NAME. nullopt if neither is that run,
// as beside a copy of a checkpoint. Throws core::InputError for a run.json there that cannot be read.
std::optional<Keeper> keeper_of(const std::filesystem::path& checkpoint, const std::string& run_id);

// For reports: those fields of run.json that write_record() writes, including program and machine, as far as
// they are present, and no others. An empty object where there is no run.json. Throws core::InputError where
// a field has another type.
nlohmann::ordered_json known_fields(const RunDirectory& directory);

// Writes run.json atomically, with this program's versions and `machine`. Throws core::RunError.
void write_record(const RunDirectory& directory, const Record& record, const device::Machine& machine);

// The swap by --swap-attention that an earlier version stored outside the config, as "manual_swap" in
// run.json or in a checkpoint's state; nullopt if there is none. Throws core::InputError.
std::optional<config::SwapAttention> earlier_swap(const core::JsonFields& fields);

// Reads the resolved config of the run, config.yaml. A total_steps of the schedule that an earlier version
// left at auto becomes train.max_steps; a swap that an earlier version stored in run.json joins
// train.swap_attention. Throws core::InputError.
config::Config read_config(const RunDirectory& directory);

}  // namespace ssgpt::run
