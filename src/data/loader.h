// Training batches, read ahead by a background thread so that a step does not wait for the disk. The thread
// enters no OpenMP region. Produces plain integers; independent of tensors and ranks.
#pragma once

#include "data/packed_examples.h"
#include "data/sampler.h"
#include "data/token_source.h"

#include <cstdint>
#include <exception>
#include <functional>
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
  int64_t first_step = 0;        // first step to read: the number of finished steps of a resumed run
};

// One micro-batch, row-major. For windows of text: rows x (T + 1) tokens, T = sequence_length; inputs are
// columns [0, T), targets [1, T]. For packed examples: rows x T inputs, with targets and numbers of keys as
// in ExampleRow.
struct MicroBatch {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;   // empty for windows of text
  std::vector<int32_t> num_keys;  // likewise
  int64_t step_targets = 0;       // number of tokens that the whole global batch of this micro-batch predicts
};

// Fills rows and columns of `batch` with the given windows of examples, one per row; a negative one is
// padding.
void read_windows(const PackedExamples& examples, std::span<const int64_t> windows, MicroBatch& batch);

class BatchLoader {
 public:
  // The source must outlive the loader. Reads at most four micro-batches ahead.
  BatchLoader(const TokenSource& source, const WindowSampler& sampler, const LoaderOptions& options);

  // Reads examples, which must outlive the loader, in `order`, whose rows must equal
  // options.samples_per_step.
  BatchLoader(const PackedExamples& examples, const EpochOrder& order, const LoaderOptions& options);
  ~BatchLoader();

  // Returns the next micro-batch in order; valid until the next call. Rethrows an exception of the thread
  // (core::InputError).
  const MicroBatch& next();

 private:
  struct Queue;
  // Fills the micro-batch of step `step`, from 0, whose first row is row `first_row` of the global batch.
  using Read = std::function<void(int64_t step, int64_t first_row, MicroBatch& batch)>;

  void start(const LoaderOptions& options, Read read);

  std::unique_ptr<Queue> queue_;
  MicroBatch current_;
  std::thread thread_;
};

}  // namespace ssgpt::data
