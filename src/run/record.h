// run.json: what a run is, where it began, and by which program on which machine it was made. One reader and
// one writer.
#pragma once

#include "config/config.h"
#include "core/json_fields.h"
#include "device/machine.h"
#include "run/directory.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::run {

// A process that trained into the directory, from its start to its end.
struct Session {
  std::string started;  // UTC, "2026-01-31T12:00:00Z"
  std::string command;  // its command line
  std::string revision;
  std::string host;
  int64_t ranks = 1;
  int64_t threads = 0;  // of each rank
  std::string gpu;      // name of that of rank 0; empty: none
};

// A training whose weights another one went on from: what tells which it was.
struct Ancestor {
  std::string checkpoint;  // by which it was named, an absolute path
  std::string run_id;
  int64_t step = 0;    // finished updates
  std::string config;  // as its checkpoint has it, YAML
  std::string data_fingerprint;
  std::string tokenizer_fingerprint = {};  // empty: none, or not known
};

struct Record {
  std::string run_id;
  std::string name;
  std::string command;  // the command line that began it
  int64_t num_parameters = 0;
  std::string data_fingerprint;            // of the training data
  std::string tokenizer_fingerprint = {};  // checksum of its file; empty: none, or not known
  std::optional<int64_t> first_step;       // finished updates when the run began: above 0 for a fork
  std::string parent;  // the checkpoint that a fork or --init-from started from; empty: none
  // From the first training to that of `parent`; empty where there is none, or where they are not all known.
  std::vector<Ancestor> ancestors = {};
  std::vector<Session> sessions;  // in the order of their starts
};

std::string new_run_id();  // 16 hexadecimal digits from the system's randomness

// A session of this program that starts now.
Session new_session(const std::string& command, int64_t ranks, const device::Machine& machine);

// Whether run.json is there and is a run's record, and no file of that name which somebody else wrote. Throws
// core::ReadError.
bool is_record(const RunDirectory& directory);

// What run.json holds; a field that an earlier version did not write is empty. None where there is no
// run.json. Throws core::InputError that names file and field where it is not a run's record.
std::optional<Record> read_record(const RunDirectory& directory);

// The same, and by which program on which machine the run was made, as one object for a report: the fields of
// run.json that write_record() writes, as far as they are there, and no others. An empty object where there
// is no run.json. Throws core::InputError where one of them is of another type.
nlohmann::ordered_json known_fields(const RunDirectory& directory);

// Writes run.json atomically, with the versions of this program and the machine.
// Throws core::RunError.
void write_record(const RunDirectory& directory, const Record& record, const device::Machine& machine);

// The swap by --swap-attention that an earlier version kept beside the config, as "manual_swap" of run.json
// or of a checkpoint's state; none where there is none. Throws core::InputError.
std::optional<config::SwapAttention> earlier_swap(const core::JsonFields& fields);

// The resolved config of the run, config.yaml. Where an earlier version left open at which step the schedule
// of the learning rate ends, that is train.max_steps. A swap by --swap-attention that an earlier version kept
// in run.json is in its list of swaps. Throws core::InputError.
config::Config read_config(const RunDirectory& directory);

}  // namespace ssgpt::run
