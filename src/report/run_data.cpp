#include "report/run_data.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "run/metrics_line.h"
#include "run/record.h"

#include <fmt/format.h>

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

Ancestor to_ancestor(const run::Ancestor& record, const std::string& origin) {
  Ancestor ancestor{.checkpoint = record.checkpoint,
                    .known = true,
                    .run_id = record.run_id,
                    .step = record.step,
                    .training = {}};
  try {
    ancestor.training.config = config_at(record.config, origin, record.step);
  } catch (const core::UsageError& error) {
    throw core::InputError("{}", error.what());
  }
  ancestor.training.data_fingerprint = record.data_fingerprint;
  ancestor.training.tokenizer_fingerprint = record.tokenizer_fingerprint;
  return ancestor;
}

}  // namespace

config::Config config_at(const std::string& text, const std::string& origin, int64_t step) {
  config::Config config = config::parse(text, origin);
  config::resolve_total_steps(config);
  std::erase_if(config.train.swap_attention,
                [&](const config::SwapAttention& swap) { return swap.at_step >= step; });
  return config;
}

void take_beginning(const std::string& run_id, const run::Beginning& beginning,
                    const std::filesystem::path& origin, RunData& run) {
  run.run_id = run_id;
  run.parent = beginning.parent;
  run.first_step = beginning.first_step;
  run.lineage.clear();
  for (size_t i = 0; i < beginning.ancestors.size(); ++i) {
    run.lineage.push_back(
        to_ancestor(beginning.ancestors[i], fmt::format("{}: ancestors[{}].config", origin.string(), i)));
  }
  if (run.lineage.empty() && !run.parent.empty())
    run.lineage.push_back(
        {.checkpoint = run.parent, .known = false, .run_id = {}, .step = 0, .training = {}});
}

RunData read_run(const std::filesystem::path& path) {
  const run::RunDirectory directory(path);
  require_run(directory);
  RunData run;
  run.directory = path;
  // Before its lines are read, so that a run that ends now is seen complete.
  run.being_trained = run::is_locked(directory);
  run.config = run::read_config(directory);
  run.info = core::json_text(run::known_fields(directory));
  if (const std::optional<run::Record> record = run::read_record(directory)) {
    take_beginning(record->run_id, record->beginning, directory.record(), run);
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
