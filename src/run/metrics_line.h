// metrics.jsonl and samples.jsonl, the curves and texts of a run: how a line is written, read back, and cut
// where a resume makes it again. One reader and one writer for the trainer, the comparison and inspection.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ssgpt::run {

// The steps first..last, both included.
struct StepRange {
  int64_t first = 0;
  int64_t last = 0;
};

// One line of metrics.jsonl, which says by itself what its figures are over.
struct MetricsLine {
  int64_t step = 0;                     // finished updates
  int64_t tokens = 0;                   // predicted by the end of it
  std::optional<StepRange> steps = {};  // that train/loss is the mean over; set where the line has one
  // In the order of README's table: "train/loss" ... What is not finite is written as null and read as NaN.
  std::vector<std::pair<std::string, double>> values;
  // What validation/loss is over, "<fingerprint of the shards>/<number of windows>"; empty where the line has
  // none, or was written by a version that did not say.
  std::string validation_data = {};
  double time = 0.0;  // seconds since the epoch

  std::optional<double> value(const std::string& name) const;
};

// Text that the model wrote after a prompt: one line of samples.jsonl.
struct SampleLine {
  int64_t step = 0;
  std::string prompt;  // valid UTF-8, as is the text
  std::string text;
};

// Appends JSON lines to a file. Numbers read back to the same double; each line is written whole.
class LineWriter {
 public:
  // Throws as core::open_for_appending() does.
  explicit LineWriter(const std::filesystem::path& path);
  ~LineWriter();
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;

  // One write(2) for the line. Throws core::RunError (full disk); then no part of the line is left.
  void write(const MetricsLine& line);
  void write(const SampleLine& line);
  // Waits until what was written is on the disk. Throws core::RunError.
  void sync();

 private:
  void write_text(int64_t step, const std::string& text);

  const int descriptor_;
  const std::filesystem::path path_;
};

struct Metrics {
  std::vector<MetricsLine> lines;
  bool torn_last_line = false;  // a writer was killed, or is writing: that line was passed over
};

// Reads metrics.jsonl. `first_step`: finished updates when the run began, where known: a line of an earlier
// version does not say its steps, which are then those since the line before. Throws core::InputError that
// names file, line and field for what is missing or damaged, for steps of one curve that repeat or fall, and
// for a line whose steps cannot be known.
Metrics read_metrics(const std::filesystem::path& path, std::optional<int64_t> first_step);

// The last whole line with a training loss among the last 64 KiB, whatever stands before, so that a running
// training is looked at for little. None where there is none, or the file is missing or no run's metrics.
// Throws core::ReadError.
std::optional<MetricsLine> read_last_loss(const std::filesystem::path& path);

// Drops the lines, of metrics or samples, whose step is above `last_step`, and a torn last line. Atomic;
// nothing where `path` is missing. Throws core::InputError for a whole line that has no step.
void cut_lines_after(const std::filesystem::path& path, int64_t last_step);

}  // namespace ssgpt::run
