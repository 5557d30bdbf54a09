// write_events DIRECTORY: event files of a run of ten steps that was killed after step 8 and resumed from
// step 5.

#include "metrics/tensorboard_sink.h"

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: ssgpt_write_events DIRECTORY\n", stderr);
    return 2;
  }
  using ssgpt::metrics::TensorBoardSink;
  const auto write = [](TensorBoardSink& sink, int64_t first, int64_t last, double offset) {
    for (int64_t step = first; step <= last; ++step) {
      sink.write({.step = step,
                  .tokens = 100 * step,
                  .values = {{"train/loss", offset + 1.0 / static_cast<double>(step)}, {"train/lr", 1e-3}},
                  .time = 1.7e9 + static_cast<double>(step)});
    }
  };
  {
    TensorBoardSink sink(argv[1], /*purge_step=*/-1);
    sink.write_text(0, "config", "run:\n  name: \xC3\xA9t\xC3\xA9\n");
    write(sink, 1, 8, /*offset=*/10.0);
  }
  TensorBoardSink sink(argv[1], /*purge_step=*/5);
  write(sink, 6, 10, /*offset=*/20.0);
  sink.flush();
  return 0;
}
