#include "report/run_data.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "run/metrics_line.h"
#include "run/record.h"

namespace ssgpt::report {
namespace {

void require_run(const run::RunDirectory& directory) {
  if (!core::is_directory(directory.path())) {
    throw core::InputError(
        "{}: no such run directory. A run is a directory that `ssgpt train` wrote, with config.yaml and "
        "metrics.jsonl in it.",
        directory.path().string());
  }
  for (const std::filesystem::path& file : {directory.config(), directory.metrics()}) {
    if (!core::exists(file)) {
      throw core::InputError(
          "{}: holds no {}, so it is not a run directory (those that `ssgpt train` writes have config.yaml "
          "and metrics.jsonl in them).",
          directory.path().string(), file.filename().string());
    }
  }
}

void add_points(const run::MetricsLine& line, RunData& run) {
  if (const auto loss = line.value("train/loss")) {
    run.train.push_back({.first_step = line.steps->first,
                         .last_step = line.steps->last,
                         .tokens = line.tokens,
                         .loss = *loss});
  }
  if (const auto loss = line.value("validation/loss")) {
    run.validation.push_back(
        {.step = line.step, .tokens = line.tokens, .loss = *loss, .data = line.validation_data});
  }
}

}  // namespace

RunData read_run(const std::filesystem::path& path) {
  const run::RunDirectory directory(path);
  require_run(directory);
  RunData run;
  run.directory = path;
  run.being_trained =
      run::is_locked(directory);  // before its lines are read: a run that ends now is seen whole
  run.config = run::read_config(directory);
  run.info = core::json_text(run::known_fields(directory));
  if (const std::optional<run::Record> record = run::read_record(directory)) {
    run.parent = record->parent;
    run.first_step = record->first_step;
    run.data_fingerprint = record->data_fingerprint;
    run.tokenizer_fingerprint = record->tokenizer_fingerprint;
  }
  const run::Metrics metrics = run::read_metrics(directory.metrics(), run.first_step);
  for (const run::MetricsLine& line : metrics.lines) add_points(line, run);
  run.torn_last_line = metrics.torn_last_line;
  if (run.train.empty()) {
    throw core::InputError(
        "{}: holds no training loss yet. Let the run reach its first logged step (log.every is {}).",
        directory.metrics().string(), run.config.log.every);
  }
  return run;
}

}  // namespace ssgpt::report
