// TensorBoard's event file, one of the places where the figures of a run go.
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
  // A new events.out.tfevents.* file in `directory`, whose name sorts behind those that are there. purge_step
  // >= 0 tells TensorBoard to drop the points of earlier files whose step is above it (a run resumed after
  // that step). Throws core::RunError.
  TensorBoardSink(const std::filesystem::path& directory, int64_t purge_step);
  ~TensorBoardSink();
  TensorBoardSink(const TensorBoardSink&) = delete;
  TensorBoardSink& operator=(const TensorBoardSink&) = delete;

  void write(
      const run::MetricsLine& line);  // buffered, as are texts; flush() and the destructor write them out
  // Markdown in the Text tab.
  void write_text(int64_t step, const std::string& tag, const std::string& text);
  void flush();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::metrics
