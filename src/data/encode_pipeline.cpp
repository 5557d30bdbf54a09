#include "data/encode_pipeline.h"

#include "core/error.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace ssgpt::data {

struct EncodePipeline::State {
  using Numbered = std::pair<uint64_t, EncodeBatch>;

  State(const tokenizer::Tokenizer& the_tokenizer, Source the_source, uint64_t the_max_bytes)
      : tokenizer(the_tokenizer),
        eos(the_tokenizer.eos_id()),
        source(std::move(the_source)),
        max_bytes(the_max_bytes) {}

  const tokenizer::Tokenizer& tokenizer;
  const int32_t eos;
  const Source source;
  const uint64_t max_bytes;

  std::mutex mutex;
  std::condition_variable readable;  // `todo` gained a batch, or the end was reached
  std::condition_variable encoded;   // `done` gained a batch, or the end was reached
  std::condition_variable room;      // bytes_ahead decreased
  std::deque<Numbered> todo;
  std::map<uint64_t, EncodeBatch> done;
  uint64_t bytes_ahead = 0;
  uint64_t bytes_taken = 0;  // of bytes_ahead, those in the batch that the caller holds
  uint64_t num_read = 0;     // in batches, as is num_taken
  uint64_t num_taken = 0;
  bool read_all = false;
  bool stop = false;
  std::exception_ptr failure;
  std::vector<std::thread> threads;

  void read();
  void encode();
  void fail();
  void wake_all();
  void join_all();
};

void EncodePipeline::State::wake_all() {
  readable.notify_all();
  encoded.notify_all();
  room.notify_all();
}

void EncodePipeline::State::join_all() {
  {
    const std::lock_guard lock(mutex);
    stop = true;
  }
  wake_all();
  for (std::thread& thread : threads) {
    thread.join();
  }
}

void EncodePipeline::State::fail() {
  const std::lock_guard lock(mutex);
  failure = failure ? failure : std::current_exception();
  stop = true;
  wake_all();
}

void EncodePipeline::State::read() {
  try {
    while (true) {
      EncodeBatch batch;
      const bool more = source(batch);
      std::unique_lock lock(mutex);
      if (!more) {
        read_all = true;
        wake_all();
        return;
      }
      room.wait(lock,
                [&] { return stop || bytes_ahead == 0 || bytes_ahead + batch.text_bytes <= max_bytes; });
      if (stop) {
        return;
      }
      bytes_ahead += batch.text_bytes;
      todo.emplace_back(num_read++, std::move(batch));
      readable.notify_one();
    }
  } catch (...) {
    fail();
  }
}

void EncodePipeline::State::encode() {
  try {
    while (true) {
      Numbered work;
      {
        std::unique_lock lock(mutex);
        readable.wait(lock, [&] { return stop || read_all || !todo.empty(); });
        if (stop || todo.empty()) {
          return;
        }
        work = std::move(todo.front());
        todo.pop_front();
      }
      for (EncodeDocument& document : work.second.documents) {
        if (document.encode) {
          document.tokens = tokenizer.encode(document.text);
          document.tokens.push_back(eos);
        }
        std::string().swap(document.text);
      }
      const std::lock_guard lock(mutex);
      done.emplace(work.first, std::move(work.second));
      encoded.notify_one();
    }
  } catch (...) {
    fail();
  }
}

EncodePipeline::EncodePipeline(const tokenizer::Tokenizer& tokenizer, Source source, int num_threads,
                               uint64_t max_bytes)
    : state_(std::make_unique<State>(tokenizer, std::move(source), max_bytes)) {
  const int encoders = std::max(1, num_threads);
  state_->threads.reserve(static_cast<size_t>(encoders) + 1);
  try {
    state_->threads.emplace_back([state = state_.get()] { state->read(); });
    for (int i = 0; i < encoders; ++i) {
      state_->threads.emplace_back([state = state_.get()] { state->encode(); });
    }
  } catch (const std::system_error& error) {
    const size_t started = state_->threads.size();
    state_->join_all();
    throw core::RunError(
        "{} threads to encode with, and one to read: the system started {} of them and refused the next "
        "({}). Ask for fewer with --threads, or raise the limit on processes or memory.",
        encoders, started, error.code().message());
  }
}

EncodePipeline::~EncodePipeline() {
  state_->join_all();
}

bool EncodePipeline::next(EncodeBatch& batch) {
  State& state = *state_;
  batch = {};  // its tokens take several times the memory of its text: only after freeing them is there room
               // for more
  std::unique_lock lock(state.mutex);
  state.bytes_ahead -= std::exchange(state.bytes_taken, 0);
  state.room.notify_one();
  state.encoded.wait(lock, [&] {
    return state.failure || state.done.contains(state.num_taken) ||
           (state.read_all && state.num_taken == state.num_read);
  });
  // Batches before a failure still count: shards that they complete need not be made again.
  const auto found = state.done.find(state.num_taken);
  if (found == state.done.end()) {
    if (state.failure) {
      std::rethrow_exception(state.failure);
    }
    return false;
  }
  batch = std::move(found->second);
  state.done.erase(found);
  ++state.num_taken;
  state.bytes_taken = batch.text_bytes;
  return true;
}

}  // namespace ssgpt::data
