// TensorBoard's event file, one of the sinks for a run's figures.
#pragma once

#include "run/metrics_line.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace ssgpt::metrics {

// Scalars and text in TensorBoard's event format (TFRecord framing, Event protobuf).
class TensorBoardSink {
 public:
  // Creates an events.out.tfevents.* file in `directory`, whose name sorts after the existing ones.
  // purge_step >= 0 tells TensorBoard to drop the points of earlier files above that step (for a run resumed
  // from it). Throws core::RunError.
  TensorBoardSink(const std::filesystem::path& directory, int64_t purge_step);
  ~TensorBoardSink();
  TensorBoardSink(const TensorBoardSink&) = delete;
  TensorBoardSink& operator=(const TensorBoardSink&) = delete;

  // Buffered, as are texts; flush() and the destructor write them out.
  void write(const run::MetricsLine& line);
  // Adds Markdown to the Text tab.
  void write_text(int64_t step, const std::string& tag, const std::string& text);
  void flush();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::metrics
