#include "data/loader.h"

#include "core/check.h"

#include <array>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <utility>

namespace ssgpt::data {

// A ring between the reading thread and next(). Buffers go round by swapping, so that none is allocated anew.
struct BatchLoader::Queue {
  static constexpr size_t kCapacity = 4;

  std::mutex mutex;
  std::condition_variable changed;
  std::array<MicroBatch, kCapacity> ring;
  size_t head = 0;  // the oldest of the ready ones
  size_t ready = 0;
  bool stop = false;
  std::exception_ptr failure;

  // Swaps `batch` into the ring once there is room; false where the loader is being destroyed.
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

  // Batches that were read before a failure are handed out before it is thrown.
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

void read_micro_batch(const TokenSource& source, const WindowSampler& sampler, const LoaderOptions& options,
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
}

void check_options(const TokenSource& source, const WindowSampler& sampler, const LoaderOptions& options) {
  SSGPT_CHECK(options.micro_batch_size > 0 && options.rows_per_step > 0 &&
                  options.rows_per_step % options.micro_batch_size == 0,
              "micro-batches of {} rows do not divide {} rows", options.micro_batch_size,
              options.rows_per_step);
  SSGPT_CHECK(options.first_row >= 0 && options.first_row + options.rows_per_step <= options.samples_per_step,
              "rows {} to {} of {}", options.first_row, options.first_row + options.rows_per_step,
              options.samples_per_step);
  SSGPT_CHECK(options.first_step >= 0 && options.vocab_size > 0, "first step {}, vocabulary {}",
              options.first_step, options.vocab_size);
  SSGPT_CHECK(sampler.num_windows() <= source.num_windows(options.sequence_length),
              "a sampler of {} windows over {}", sampler.num_windows(),
              source.num_windows(options.sequence_length));
}

}  // namespace

BatchLoader::BatchLoader(const TokenSource& source, const WindowSampler& sampler,
                         const LoaderOptions& options)
    : queue_(std::make_unique<Queue>()) {
  check_options(source, sampler, options);
  thread_ = std::thread([&source, sampler, options, queue = queue_.get()] {
    try {
      MicroBatch batch;
      for (int64_t step = options.first_step;; ++step) {
        const int64_t first_sample = step * options.samples_per_step + options.first_row;
        for (int64_t row = 0; row < options.rows_per_step; row += options.micro_batch_size) {
          read_micro_batch(source, sampler, options, first_sample + row, batch);
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
