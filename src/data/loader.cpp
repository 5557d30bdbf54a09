#include "data/loader.h"

#include "core/check.h"

#include <array>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>

namespace ssgpt::data {

// A ring between the reading thread and next(). Buffers are swapped in and out, so that none is reallocated.
struct BatchLoader::Queue {
  static constexpr size_t kCapacity = 4;

  std::mutex mutex;
  std::condition_variable changed;
  std::array<MicroBatch, kCapacity> ring;
  size_t head = 0;  // the oldest ready batch
  size_t ready = 0;
  bool stop = false;
  std::exception_ptr failure;

  // Swaps `batch` into the ring once there is room; returns false if the loader is being destroyed.
  bool push(MicroBatch& batch) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return stop || ready < kCapacity; });
    if (stop) {
      return false;
    }
    std::swap(ring[(head + ready) % kCapacity], batch);
    ++ready;
    changed.notify_all();
    return true;
  }

  // Batches read before a failure are returned before it is thrown.
  void pop(MicroBatch& batch) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return failure || ready > 0; });
    if (ready == 0) {
      std::rethrow_exception(failure);
    }
    std::swap(ring[head], batch);
    head = (head + 1) % kCapacity;
    --ready;
    changed.notify_all();
  }

  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex);
    failure = std::move(error);
    changed.notify_all();
  }
};

namespace {

void read_samples(const TokenSource& source, const WindowSampler& sampler, const LoaderOptions& options,
                  int64_t first_sample, MicroBatch& batch) {
  batch.rows = options.micro_batch_size;
  batch.columns = options.sequence_length + 1;
  batch.tokens.resize(static_cast<size_t>(batch.rows * batch.columns));
  for (int64_t row = 0; row < batch.rows; ++row) {
    const auto out =
        std::span(batch.tokens)
            .subspan(static_cast<size_t>(row * batch.columns), static_cast<size_t>(batch.columns));
    source.read(sampler.window(first_sample + row) * options.sequence_length, out, options.vocab_size);
  }
  batch.step_targets = options.samples_per_step * options.sequence_length;
}

void read_step(const PackedExamples& examples, const EpochOrder& order, const LoaderOptions& options,
               int64_t step, int64_t first_row, MicroBatch& batch) {
  std::vector<int64_t> windows;
  for (int64_t row = 0; row < options.micro_batch_size; ++row) {
    windows.push_back(order.window(step, first_row + row));
  }
  read_windows(examples, windows, batch);
  batch.step_targets = 0;
  for (int64_t row = 0; row < order.rows(); ++row) {
    if (const int64_t window = order.window(step, row); window >= 0) {
      batch.step_targets += examples.answer_tokens(window);
    }
  }
}

void check_options(const LoaderOptions& options) {
  SSGPT_CHECK(options.micro_batch_size > 0 && options.rows_per_step > 0 &&
                  options.rows_per_step % options.micro_batch_size == 0,
              "micro-batches of {} rows do not divide {} rows", options.micro_batch_size,
              options.rows_per_step);
  SSGPT_CHECK(options.first_row >= 0 && options.first_row + options.rows_per_step <= options.samples_per_step,
              "rows {} to {} of {}", options.first_row, options.first_row + options.rows_per_step,
              options.samples_per_step);
  SSGPT_CHECK(options.first_step >= 0 && options.vocab_size > 0, "first step {}, vocabulary {}",
              options.first_step, options.vocab_size);
}

}  // namespace

void read_windows(const PackedExamples& examples, std::span<const int64_t> windows, MicroBatch& batch) {
  batch.rows = static_cast<int64_t>(windows.size());
  batch.columns = examples.sequence_length();
  const auto columns = static_cast<size_t>(batch.columns);
  for (std::vector<int32_t>* values : {&batch.tokens, &batch.targets, &batch.num_keys}) {
    values->resize(windows.size() * columns);
  }
  for (size_t row = 0; row < windows.size(); ++row) {
    const auto part = [&](std::vector<int32_t>& values) {
      return std::span(values).subspan(row * columns, columns);
    };
    examples.read(
        windows[row],
        {.inputs = part(batch.tokens), .targets = part(batch.targets), .num_keys = part(batch.num_keys)});
  }
}

BatchLoader::BatchLoader(const TokenSource& source, const WindowSampler& sampler,
                         const LoaderOptions& options)
    : queue_(std::make_unique<Queue>()) {
  SSGPT_CHECK(sampler.num_windows() <= source.num_windows(options.sequence_length),
              "a sampler of {} windows over {}", sampler.num_windows(),
              source.num_windows(options.sequence_length));
  start(options, [&source, sampler, options](int64_t step, int64_t first_row, MicroBatch& batch) {
    read_samples(source, sampler, options, step * options.samples_per_step + first_row, batch);
  });
}

BatchLoader::BatchLoader(const PackedExamples& examples, const EpochOrder& order,
                         const LoaderOptions& options)
    : queue_(std::make_unique<Queue>()) {
  SSGPT_CHECK(
      order.rows() == options.samples_per_step && examples.sequence_length() == options.sequence_length,
      "steps of {} windows of {}, expected {} of {}", order.rows(), examples.sequence_length(),
      options.samples_per_step, options.sequence_length);
  start(options, [&examples, order, options](int64_t step, int64_t first_row, MicroBatch& batch) {
    read_step(examples, order, options, step, first_row, batch);
  });
}

void BatchLoader::start(const LoaderOptions& options, Read read) {
  check_options(options);
  thread_ = std::thread([options, read = std::move(read), queue = queue_.get()] {
    try {
      MicroBatch batch;
      for (int64_t step = options.first_step;; ++step) {
        for (int64_t row = 0; row < options.rows_per_step; row += options.micro_batch_size) {
          read(step, options.first_row + row, batch);
          if (!queue->push(batch)) {
            return;
          }
        }
      }
    } catch (...) {
      queue->fail(std::current_exception());
    }
  });
}

BatchLoader::~BatchLoader() {
  {
    const std::lock_guard lock(queue_->mutex);
    queue_->stop = true;
  }
  queue_->changed.notify_all();
  thread_.join();
}

const MicroBatch& BatchLoader::next() {
  queue_->pop(current_);
  return current_;
}

}  // namespace ssgpt::data
