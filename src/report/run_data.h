// What a run directory says about a finished or running training, as the comparison takes it.
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

// One line of metrics.jsonl with a training loss: the mean over the steps first_step..last_step, both
// included.
struct TrainPoint {
  int64_t first_step = 0;
  int64_t last_step = 0;
  int64_t tokens = 0;  // seen by the end of last_step
  double loss = 0.0;   // NaN where it was not finite
};

struct ValidationPoint {
  int64_t step = 0;
  int64_t tokens = 0;
  double loss = 0.0;  // likewise
  std::string data;   // what it is over (run::MetricsLine::validation_data); empty: not known
};

struct RunData : Training {
  std::filesystem::path directory;
  std::string info = "{}";            // what run.json says of the run (run::known_fields), as JSON
  std::string parent;                 // checkpoint that a fork or --init-from began at; empty: none
  std::optional<int64_t> first_step;  // finished steps when the run began, above 0 for a fork; where known
  Lineage lineage;                    // up to `parent`
  std::vector<TrainPoint> train;      // steps rise; each point begins where the one before it ended
  std::vector<ValidationPoint> validation;  // steps rise
  bool torn_last_line = false;              // a writer was killed, or is writing: the line was passed over
  bool being_trained = false;               // a process holds the directory (run::is_locked)

  int64_t last_step() const { return train.back().last_step; }
  bool finished() const { return last_step() >= config.train.max_steps; }
};

// The config that a trainer stored, `text` out of `origin`, with the swaps of the attention that were done by
// `step` alone. Throws core::InputError, or core::UsageError for settings that do not fit together.
config::Config config_at(const std::string& text, const std::string& origin, int64_t step);

// Fills in what run.json says of where the run began: parent, first_step and lineage. Throws core::InputError
// where it holds a config that does not read.
void take_beginning(const run::Record& record, RunData& run);

// Reads config.yaml, run.json and metrics.jsonl. Throws core::InputError that names file and line for what is
// missing or damaged, and for a run without a training loss.
RunData read_run(const std::filesystem::path& directory);

}  // namespace ssgpt::report
