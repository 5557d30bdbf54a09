// Training batches, read ahead by a thread of its own so that a step does not wait for the disk. The thread
// enters no OpenMP region. Hands out plain integers; knows no tensors and no ranks.
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
  int64_t first_step = 0;        // where to begin: the number of finished steps of a resumed run
};

// One micro-batch, row-major. Of windows of text: rows x (T + 1) tokens, T = sequence_length; inputs are
// columns [0, T), targets [1, T]. Of packed examples: rows x T inputs, with the targets and numbers of keys
// that ExampleRow tells of.
struct MicroBatch {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;   // empty: of windows of text
  std::vector<int32_t> num_keys;  // likewise
  int64_t step_targets = 0;       // tokens that the whole global batch predicts, of which this is a part
};

// Fills rows and columns of `batch` with these windows of examples, a row each; a negative one is padding.
void read_windows(const PackedExamples& examples, std::span<const int64_t> windows, MicroBatch& batch);

class BatchLoader {
 public:
  // The source must outlive the loader. At most four micro-batches are held ahead.
  BatchLoader(const TokenSource& source, const WindowSampler& sampler, const LoaderOptions& options);

  // Of examples, which must outlive the loader, in `order`, whose rows are options.samples_per_step.
  BatchLoader(const PackedExamples& examples, const EpochOrder& order, const LoaderOptions& options);
  ~BatchLoader();

  // The next micro-batch in order; valid until the next call. Rethrows what the thread met
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
