// Training batches, read ahead by a thread of its own so that a step does not wait for the disk. The thread
// enters no OpenMP region. Hands out plain integers; knows no tensors and no ranks.
#pragma once

#include "data/sampler.h"
#include "data/token_source.h"

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace ssgpt::data {

struct LoaderOptions {
  int64_t sequence_length = 0;
  int64_t vocab_size = 0;
  int64_t samples_per_step = 0;  // the global batch: step k (from 0) reads samples k * samples_per_step + ...
  int64_t first_row = 0;         // ... + first_row + [0, rows_per_step): the rows of this reader
  int64_t rows_per_step = 0;
  int64_t micro_batch_size = 0;  // divides rows_per_step
  int64_t first_step = 0;        // where to begin: the number of finished steps of a resumed run
};

// One micro-batch: rows x (sequence_length + 1) tokens, row-major. Inputs are columns [0, T), targets [1, T].
struct MicroBatch {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<int32_t> tokens;
};

class BatchLoader {
 public:
  // The source must outlive the loader. At most four micro-batches are held ahead.
  BatchLoader(const TokenSource& source, const WindowSampler& sampler, const LoaderOptions& options);
  ~BatchLoader();

  // The next micro-batch in order; valid until the next call. Rethrows what the thread met
  // (core::InputError).
  const MicroBatch& next();

 private:
  struct Queue;
  std::unique_ptr<Queue> queue_;
  MicroBatch current_;
  std::thread thread_;
};

}  // namespace ssgpt::data
