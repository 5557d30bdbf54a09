#include "start/run_files.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "model/accounting.h"
#include "run/metrics_line.h"
#include "run/ownership.h"
#include "run/record.h"
#include "start/choose_device.h"

#include <filesystem>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::start {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse_changed_directory(const run::RunDirectory& directory) {
  throw core::UsageError("Another process trained into {} while this one was starting: start it again.",
                         directory.path().string());
}

// A checkpoint beyond the one that the run resumes from did not verify, or is no checkpoint at all: it is set
// aside, since the run would replace it. One that does verify was saved after the run was resolved.
void set_aside_later_checkpoints(const run::RunDirectory& directory, int64_t step) {
  for (const run::Checkpoint& one : directory.named_checkpoints()) {
    if (one.step <= step) continue;
    if (checkpoint::verify(one.directory).empty()) refuse_changed_directory(directory);
    fs::path aside = one.directory;
    for (int n = 1; core::exists(aside); ++n) {
      aside = one.directory;
      aside += n == 1 ? ".damaged" : fmt::format(".damaged-{}", n);
    }
    fs::rename(one.directory, aside);
    core::log::warning("{} is set aside as {}.", one.directory.string(), aside.filename().string());
  }
}

// Includes the earlier sessions if the directory holds the same run.
run::Record record_of(const Start& start, const std::string& command_line) {
  run::Record record{
      .run_id = start.state.run_id,
      .name = start.config.run.name,
      .command = command_line,
      .num_parameters = model::count_parameters(start.spec().config, start.config.data.sequence_length),
      .data_fingerprint = start.state.data_fingerprint,
      .tokenizer_fingerprint = start.state.tokenizer_fingerprint,
      .beginning = start.state.beginning.value_or(run::Beginning{}),
      .sessions = {}};
  if (start.mode != Mode::kContinue) return record;
  const std::optional<run::Record> earlier = run::read_record(start.directory);
  if (earlier && earlier->run_id == record.run_id) {
    record.command = earlier->command;
    record.sessions = earlier->sessions;
  }
  return record;
}

}  // namespace

void prepare_run_files(const Start& start, const std::string& command_line, int64_t num_ranks) {
  const run::RunDirectory& directory = start.directory;
  const bool expects_run = start.mode == Mode::kContinue || start.restarts;
  if (!expects_run && directory.holds_run()) refuse_changed_directory(directory);
  run::require_own_files(directory);
  core::remove_temporaries(directory.path(), [&](std::string_view name) {
    return name == directory.record().filename() || name == directory.config().filename() ||
           name == directory.metrics().filename() || name == directory.samples().filename();
  });
  const device::Machine machine = device::this_machine(gpu_of(start.config.train));
  run::Record record = record_of(start, command_line);
  record.sessions.push_back(run::new_session(command_line, num_ranks, machine));
  // Written first of all: it marks the directory as a run's even if this start is killed.
  if (!expects_run) run::write_record(directory, record, machine);
  core::log::add_file(directory.log());
  if (expects_run) {
    set_aside_later_checkpoints(directory, start.state.step);
    run::cut_lines_after(directory.metrics(), start.state.step);
    run::cut_lines_after(directory.samples(), start.state.step);
    run::write_record(directory, record, machine);
  }
  core::write_text_atomically(directory.config(), start.state.config);
}

}  // namespace ssgpt::start
