#include "sweep/plan.h"

#include "config/material.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "model/accounting.h"
#include "run/record.h"
#include "run/sweep_record.h"
#include "start/data_sources.h"
#include "start/examples.h"
#include "start/rules.h"

#include <algorithm>
#include <exception>
#include <map>
#include <set>
#include <system_error>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::sweep {
namespace {

namespace fs = std::filesystem;

// Why the config stored with the run cannot be read; nullopt where it can, or does not exist.
std::optional<std::string> error_of_config(const run::RunDirectory& directory) {
  try {
    if (core::exists(directory.config())) run::read_config(directory);
  } catch (const std::exception& error) {
    return error.what();
  }
  return std::nullopt;
}

// The run's record, with the fingerprints of its data and tokenizer; empty where it is missing or unreadable.
run::Record record_in(const run::RunDirectory& directory) {
  try {
    return run::read_record(directory).value_or(run::Record());
  } catch (const std::exception&) {  // reported by those who need the record
    return {};
  }
}

// A message line if the run's tokenizer has changed since the run began; nullopt if not, or if unknown.
std::optional<std::string> changed_tokenizer(const run::RunDirectory& directory,
                                             const config::Config& config) {
  const std::string then = record_in(directory).tokenizer_fingerprint;
  const std::optional<fs::path>& file = config.data.tokenizer;
  if (then.empty() || !file || !core::is_regular_file(*file)) return std::nullopt;
  const std::string now = core::checksum_of_file(*file);
  if (now == then) return std::nullopt;
  return fmt::format("  {}: tokenizer {}: checksum {} when it began, {} now", directory.path().string(),
                     file->string(), then, now);
}

// " DIRECTORY: key: OLD in the run, NEW in the sweep file" for each change that affects the result.
std::vector<std::string> changed_settings(const run::RunDirectory& directory, config::Config wanted) {
  std::vector<std::string> lines;
  if (!core::exists(directory.config())) return lines;
  const config::Config held = run::read_config(directory);
  start::keep_choices(wanted, held);
  // Shards and tokenizer may move if require_same_data() can check their contents by fingerprint.
  const run::Record record = record_in(directory);
  if (!record.data_fingerprint.empty()) wanted.data.train = held.data.train;
  if (!record.tokenizer_fingerprint.empty() && wanted.data.tokenizer && held.data.tokenizer) {
    wanted.data.tokenizer = held.data.tokenizer;
  }
  const bool total_is_max_steps = !wanted.optimizer.schedule.total_steps;
  config::resolve_total_steps(wanted);
  for (const config::Difference& difference : config::differences(held, wanted)) {
    if (!config::is_material(difference)) continue;
    const bool by_max_steps = total_is_max_steps && difference.key == "optimizer.schedule.total_steps";
    lines.push_back(fmt::format("  {}: {}{}: {} in the run, {} in the sweep file", directory.path().string(),
                                difference.key, by_max_steps ? " (auto: train.max_steps)" : "",
                                difference.before, difference.after));
  }
  const std::vector<run::Checkpoint> saved = directory.complete_checkpoints();
  if (!saved.empty() && saved.back().step > wanted.train.max_steps) {
    lines.push_back(fmt::format("  {}: train.max_steps: the run is at step {}, {} in the sweep file",
                                directory.path().string(), saved.back().step, wanted.train.max_steps));
  }
  return lines;
}

}  // namespace

run::RunDirectory directory_of(const fs::path& directory, const config::SweepRun& run) {
  return run::RunDirectory(directory / run.name);
}

void resolve_epochs(std::vector<config::SweepRun>& runs) {
  std::map<std::string, config::Config> resolved;  // by the settings that determine the number of steps
  for (config::SweepRun& run : runs) {
    config::Config& config = run.config;
    config::Config read;
    read.data = config.data;
    read.model.vocab_size = config.model.vocab_size;
    read.train.global_batch_size = config.train.global_batch_size;
    read.train.epochs = config.train.epochs;
    read.train.max_steps = config.train.max_steps;
    read.optimizer.schedule = config.optimizer.schedule;
    const auto [found, is_new] = resolved.emplace(config::dump(read), config);
    if (is_new) start::resolve_epochs(found->second);
    config.train.epochs = found->second.train.epochs;
    config.train.max_steps = found->second.train.max_steps;
    config.optimizer.schedule = found->second.optimizer.schedule;
  }
}

std::vector<std::string> train_arguments(const fs::path& directory, const config::SweepRun& run,
                                         const std::optional<fs::path>& parent) {
  std::vector<std::string> arguments = {"ssgpt",     "train",
                                        "--config",  run::sweep_config(directory, run.name).string(),
                                        "--run-dir", directory_of(directory, run).path().string(),
                                        "--resume",  "auto"};
  if (parent) arguments.insert(arguments.end(), {"--init-from", parent->string()});
  return arguments;
}

std::vector<Status> statuses_on_disk(const fs::path& directory, std::span<const config::SweepRun> runs) {
  std::vector<Status> statuses;
  for (const config::SweepRun& run : runs) {
    const run::RunDirectory folder = directory_of(directory, run);
    statuses.push_back(status_or_failure(folder, run.config.train.max_steps));
    if (const auto error = error_of_config(folder)) {
      statuses.back().state = State::kFailed;
      statuses.back().reason = *error;
    }
  }
  return statuses;
}

void require_same_settings(const fs::path& directory, std::span<const config::SweepRun> runs) {
  std::vector<std::string> lines;
  for (const config::SweepRun& run : runs) {
    try {
      const std::vector<std::string> changed = changed_settings(directory_of(directory, run), run.config);
      lines.insert(lines.end(), changed.begin(), changed.end());
    } catch (const std::exception&) {  // statuses_on_disk() reports it
    }
  }
  if (lines.empty()) return;
  throw core::UsageError(
      "These runs were begun with other settings than the sweep file has now:\n"
      "{}\n"
      "Set them back to continue, or choose another --run-dir. Nothing was changed.",
      fmt::join(lines, "\n"));
}

std::vector<std::string> require_same_data(const fs::path& directory,
                                           std::span<const config::SweepRun> runs) {
  std::vector<std::string> lines;
  std::vector<std::string> notes;
  std::map<std::string, std::string> now;  // fingerprints by config.data; empty: unknown
  for (const config::SweepRun& run : runs) {
    const run::RunDirectory folder = directory_of(directory, run);
    if (const auto line = changed_tokenizer(folder, run.config)) lines.push_back(*line);
    const std::string then = record_in(folder).data_fingerprint;
    if (then.empty()) continue;
    config::Config read;
    read.data = run.config.data;
    const auto [found, is_new] = now.emplace(config::dump(read), "");
    if (is_new) {
      try {
        found->second = start::training_fingerprint(run.config);
      } catch (const core::InputError& error) {
        notes.push_back(fmt::format("Whether the training data are still those of the runs is not known: {}",
                                    error.what()));
      }
    }
    if (found->second.empty() || found->second == then) continue;
    lines.push_back(fmt::format("  {}: fingerprint {} when it began, {} now", folder.path().string(), then,
                                found->second));
  }
  if (lines.empty()) return notes;
  throw core::UsageError(
      "The training data (data.train) or the tokenizer are not those that these runs were begun with, and "
      "runs on other data cannot be paired:\n"
      "{}\n"
      "Restore them to continue, or choose another --run-dir. Nothing was changed.",
      fmt::join(lines, "\n"));
}

void require_known_dtype(std::span<const config::SweepRun> runs, bool auto_is_gpu) {
  for (const config::SweepRun& run : runs) {
    const config::TrainConfig& train = run.config.train;
    const bool gpu =
        train.device == config::Device::kAuto ? auto_is_gpu : train.device == config::Device::kCuda;
    if (gpu || train.dtype != config::Dtype::kAuto) continue;
    throw core::UsageError(
        "train.dtype is auto in {}: on a CPU each run would measure for itself which is faster, and pairs "
        "could differ in it. Set train.dtype to float32 or bfloat16 in base.",
        run.name);
  }
}

void require_readable_data(std::span<const config::SweepRun> runs) {
  std::set<std::string> seen;
  for (const config::SweepRun& run : runs) {
    // Only these settings determine which files are opened, and how.
    config::Config read;
    read.data = run.config.data;
    read.evaluate = run.config.evaluate;
    read.model.vocab_size = run.config.model.vocab_size;
    read.train.global_batch_size = run.config.train.global_batch_size;
    if (seen.insert(config::dump(read)).second) start::open_data(run.config);
  }
}

uint64_t checkpoint_bytes(const config::Config& config) {
  constexpr int64_t kBytesPerParameter = 3 * sizeof(float);
  const int64_t steps = config.train.max_steps;
  const int64_t saved = 1 + (config.checkpoint.every > 0 ? (steps - 1) / config.checkpoint.every : 0);
  const int64_t for_good = config.checkpoint.keep_every > 0 ? steps / config.checkpoint.keep_every : 0;
  const int64_t kept = std::min(saved, config.checkpoint.keep_last + for_good + 1);
  return static_cast<uint64_t>(kept * kBytesPerParameter *
                               model::count_parameters(config.model, config.data.sequence_length));
}

std::optional<std::string> disk_warning(const fs::path& directory, std::span<const config::SweepRun> runs) {
  uint64_t needed = 0;
  for (const config::SweepRun& run : runs) needed += checkpoint_bytes(run.config);
  std::error_code unknown;
  const fs::space_info space = fs::space(directory, unknown);
  if (unknown || space.available >= needed) return std::nullopt;
  return fmt::format(
      "{} has {} left, and the checkpoints of {} may come to {}: runs may fail with a full disk. A smaller "
      "checkpoint.keep_last needs less.",
      directory.string(), core::human_bytes(space.available), core::counted(std::ssize(runs), "run"),
      core::human_bytes(needed));
}

void write_configs(const fs::path& directory, std::span<const config::SweepRun> runs) {
  core::create_writable_directory(directory / "configs");
  for (const config::SweepRun& run : runs) {
    run::write_if_changed(run::sweep_config(directory, run.name), config::dump(run.config));
  }
}

}  // namespace ssgpt::sweep
