// Where the figures of a run go: metrics.jsonl, TensorBoard's event file, a line on the console.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ssgpt::metrics {

// One line of metrics.jsonl: names in README's table order. Values that are not finite are written as null.
struct Record {
  int64_t step = 0;
  int64_t tokens = 0;
  std::vector<std::pair<std::string, double>> values;  // "train/loss" ...
  double time = 0.0;                                   // seconds since the epoch
};

// Text that the model wrote after a prompt: one line of samples.jsonl.
struct TextRecord {
  int64_t step = 0;
  std::string prompt;  // valid UTF-8, as is the text
  std::string text;
};

// Appends records as JSON lines; numbers read back to the same double. Each line is written whole.
class JsonlSink {
 public:
  // Opens for appending. Throws core::RunError.
  explicit JsonlSink(const std::filesystem::path& path);
  ~JsonlSink();
  JsonlSink(const JsonlSink&) = delete;
  JsonlSink& operator=(const JsonlSink&) = delete;

  // One write(2) for the line. Throws core::RunError (full disk); then no part of the line is left.
  void write(const Record& record);
  void write(const TextRecord& record);
  // Waits until what was written is on the disk. Throws core::RunError.
  void sync();

  // Drops the lines whose step is above `last_step`, and a torn last line. Atomic; nothing where `path` is
  // missing. Throws core::InputError for a whole line that is no record.
  static void truncate_after(const std::filesystem::path& path, int64_t last_step);

 private:
  void write_line(int64_t step, const std::string& line);

  int descriptor_ = -1;
  std::filesystem::path path_;
};

// Scalars and text in TensorBoard's event format (TFRecord framing, Event protobuf).
class TensorBoardSink {
 public:
  // A new events.out.tfevents.* file in `directory`. purge_step >= 0 tells TensorBoard to drop the points of
  // earlier files whose step is above it (a run resumed after that step). Throws core::RunError.
  TensorBoardSink(const std::filesystem::path& directory, int64_t purge_step);
  ~TensorBoardSink();
  TensorBoardSink(const TensorBoardSink&) = delete;
  TensorBoardSink& operator=(const TensorBoardSink&) = delete;

  void write(const Record& record);  // buffered, as are texts; flush() and the destructor write them out
  // Markdown in the Text tab.
  void write_text(int64_t step, const std::string& tag, const std::string& text);
  void flush();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::metrics
