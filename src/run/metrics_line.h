// Writes and reads lines of metrics.jsonl and samples.jsonl, the curves and texts of a run, and drops those
// that a resume will write again. The only reader and writer, for the trainer, the comparison and inspection.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ssgpt::run {

// Steps first to last, inclusive.
struct StepRange {
  int64_t first = 0;
  int64_t last = 0;
};

// One line of metrics.jsonl, which is self-contained: it states what its figures cover.
struct MetricsLine {
  int64_t step = 0;                     // finished updates
  int64_t tokens = 0;                   // predicted so far
  std::optional<StepRange> steps = {};  // averaged in train/loss; set if the line has one
  // In the order of the table in docs/reference.md: "train/loss" ... Non-finite values are written as null
  // and read as NaN.
  std::vector<std::pair<std::string, double>> values;
  // Data of validation/loss, "<fingerprint of the shards>/<number of windows>"; empty where the line has no
  // such loss, or comes from an earlier version that did not record it.
  std::string validation_data = {};
  double time = 0.0;  // seconds since the epoch

  std::optional<double> value(const std::string& name) const;
};

// Text generated after a prompt: one line of samples.jsonl.
struct SampleLine {
  int64_t step = 0;
  std::string prompt;  // valid UTF-8, as is the text
  std::string text;
};

// Appends JSON lines to a file. Numbers read back to the same double; lines are never partial.
class LineWriter {
 public:
  // Throws as core::open_for_appending() does.
  explicit LineWriter(const std::filesystem::path& path);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // Writes the line with one write(2). Throws core::RunError (full disk), leaving no part of the line.
  void write(const MetricsLine& line);
  void write(const SampleLine& line);
  // Waits until everything written is on disk. Throws core::RunError.
  void sync();

 private:
  void write_text(int64_t step, const std::string& text);

  const int descriptor_;
  const std::filesystem::path path_;
};

struct Metrics {
  std::vector<MetricsLine> lines;
  bool torn_last_line = false;  // the writer was killed, or is still writing: that line was skipped
};

// Reads metrics.jsonl. `first_step`: finished updates when the run began, if known; it is needed for lines of
// an earlier version, which lack their step range, so that each covers the steps since the line before.
// Throws core::InputError naming file, line and field for missing or damaged content, for a curve whose steps
// do not increase or have a gap, and for a line whose steps cannot be determined.
Metrics read_metrics(const std::filesystem::path& path, std::optional<int64_t> first_step);

// The last complete line with a training loss within the last 64 KiB, ignoring what precedes, so that polling
// a running training is cheap. nullopt where there is none, or where the file is missing or is not a run's
// metrics. Throws core::ReadError.
std::optional<MetricsLine> read_last_loss(const std::filesystem::path& path);

// Drops the lines of metrics or samples whose step is above `last_step`, and a partial last line. Atomic;
// does nothing where `path` is missing. Throws core::InputError for a complete line without a step.
void cut_lines_after(const std::filesystem::path& path, int64_t last_step);

}  // namespace ssgpt::run
