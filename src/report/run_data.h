// The contents of a finished or running training's directory, as used by the comparison.
#pragma once

#include "config/config.h"
#include "report/lineage.h"
#include "report/training.h"
#include "run/directory.h"
#include "run/record.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::report {

// One line of metrics.jsonl with a training loss: the mean over the steps first_step..last_step, inclusive.
struct TrainPoint {
  int64_t first_step = 0;
  int64_t last_step = 0;
  int64_t tokens = 0;  // seen by the end of last_step
  double loss = 0.0;   // NaN if it was not finite
};

struct ValidationPoint {
  int64_t step = 0;
  int64_t tokens = 0;
  double loss = 0.0;  // likewise
  std::string data;   // the data it is over (run::MetricsLine::validation_data); empty: unknown
};

struct RunData : Training {
  std::filesystem::path directory;
  std::string run_id;                 // empty: unknown
  std::string info = "{}";            // fields of run.json that describe the run (run::known_fields), as JSON
  std::string parent;                 // checkpoint that a fork or --init-from began from; empty: none
  std::optional<int64_t> first_step;  // finished steps when the run began, above 0 for a fork; if known
  Lineage lineage;                    // up to `parent`
  std::vector<TrainPoint> train;      // ascending steps; each point begins where the previous one ended
  std::vector<ValidationPoint> validation;  // ascending steps
  bool torn_last_line = false;              // a writer was killed, or is writing: the line was skipped
  bool being_trained = false;               // a process holds the directory's lock (run::is_locked)

  int64_t last_step() const { return train.back().last_step; }
  bool finished() const { return last_step() >= config.train.max_steps; }
};

// Parses the config that a trainer stored, `text` out of `origin`, keeping only the attention swaps done by
// `step`. Throws core::InputError, or core::UsageError for settings that do not fit together.
config::Config config_at(const std::string& text, const std::string& origin, int64_t step);

// Fills in run_id, parent, first_step and lineage. `origin`: where `beginning` was read. Throws
// core::InputError, with the origin, if it holds a config that cannot be parsed.
void take_beginning(const std::string& run_id, const run::Beginning& beginning,
                    const std::filesystem::path& origin, RunData& run);

// Reads config.yaml, run.json and metrics.jsonl. Throws core::InputError that names file and line if
// something is missing or damaged, and for a run without a training loss.
RunData read_run(const std::filesystem::path& directory);

}  // namespace ssgpt::report
