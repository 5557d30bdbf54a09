#include "data/packed_examples.h"

#include "core/check.h"
#include "core/checksum.h"
#include "core/error.h"
#include "data/example_reader.h"
#include "tokenizer/continuation.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>
#include <tuple>
#include <utility>

namespace ssgpt::data {

namespace {

// Limits on the text held in memory; one example may exceed the bytes.
constexpr size_t kExamplesAtATime = 4096;
constexpr size_t kBytesAtATime = size_t{64} << 20;
constexpr uint64_t kPackingSeed = 0;  // one packing for runs with all seeds, which thus have equal steps

struct EncodedTexts {
  std::vector<int32_t> prompt;
  std::vector<int32_t> answer;
};

EncodedTexts encode(const Example& example, const tokenizer::Tokenizer& tokenizer) {
  EncodedTexts encoded;
  encoded.prompt = tokenizer.encode(example.prompt);
  if (encoded.prompt.empty()) return encoded;
  encoded.answer = tokenizer::encode_after(tokenizer, example.prompt, encoded.prompt, example.answer);
  return encoded;
}

// Encodes on all cores. Rethrows an exception of any thread.
std::vector<EncodedTexts> encode(const std::vector<Example>& examples,
                                 const tokenizer::Tokenizer& tokenizer) {
  std::vector<EncodedTexts> encoded(examples.size());
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < examples.size(); i = next++) {
        encoded[i] = encode(examples[i], tokenizer);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  const size_t cores = std::max(1U, std::thread::hardware_concurrency());
  {
    std::vector<std::jthread> helpers;
    for (size_t i = 1; i < std::min(cores, examples.size() / 64); ++i) helpers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return encoded;
}

}  // namespace

PackedExamples::PackedExamples(const std::vector<std::filesystem::path>& paths,
                               const tokenizer::Tokenizer& tokenizer, int64_t sequence_length,
                               config::OnLongExample on_long_example)
    : sequence_length_(sequence_length) {
  SSGPT_CHECK(sequence_length > 0, "windows of {} tokens", sequence_length);
  const int32_t eos = tokenizer.eos_id();
  ExampleReader reader(paths);
  const auto next_part = [&reader] {
    return reader.next_part(kExamplesAtATime, kBytesAtATime);
  };
  for (std::vector<Example> texts = next_part(); !texts.empty(); texts = next_part()) {
    const std::vector<EncodedTexts> encoded = encode(texts, tokenizer);
    for (size_t i = 0; i < texts.size(); ++i) {
      add(encoded[i].prompt, encoded[i].answer, eos, texts[i].place, on_long_example);
    }
  }
  if (examples_.empty()) {
    throw core::InputError("{} holds no example{}.",
                           paths.empty() ? "The list of files" : paths.front().string(),
                           num_left_out_ > 0 ? " that fits into data.sequence_length" : "");
  }
  core::Checksum checksum;
  checksum.update(std::as_bytes(std::span(tokens_)));
  for (const Encoded& example : examples_) {
    checksum.update(std::as_bytes(std::span(&example.prompt, 1)));
    checksum.update(std::as_bytes(std::span(&example.tokens, 1)));
  }
  fingerprint_ = checksum.hex();
  pack();
}

void PackedExamples::add(std::span<const int32_t> prompt, std::span<const int32_t> answer, int32_t eos,
                         const std::string& place, config::OnLongExample on_long_example) {
  if (prompt.empty() || answer.empty()) {
    throw core::InputError("{}: the tokenizer makes no token of the {}.", place,
                           prompt.empty() ? "prompt" : "answer");
  }
  const auto tokens = static_cast<int64_t>(prompt.size() + answer.size() + 1);
  if (tokens - 1 > sequence_length_) {
    if (on_long_example == config::OnLongExample::kStop) {
      throw core::InputError(
          "{}: the example has {} tokens (prompt {}, answer {}, EOS), and data.sequence_length = {} holds up "
          "to {}. Raise it or shorten the example; data.on_long_example: skip (of `ssgpt evaluate loss`: "
          "--skip-long) leaves such examples out and counts them.",
          place, tokens, prompt.size(), answer.size(), sequence_length_, sequence_length_ + 1);
    }
    ++num_left_out_;
    return;
  }
  examples_.push_back({.first = static_cast<int64_t>(tokens_.size()),
                       .prompt = static_cast<int64_t>(prompt.size()),
                       .tokens = tokens});
  tokens_.insert(tokens_.end(), prompt.begin(), prompt.end());
  tokens_.insert(tokens_.end(), answer.begin(), answer.end());
  tokens_.push_back(eos);
  num_answer_tokens_ += static_cast<int64_t>(answer.size()) + 1;
  num_prompt_tokens_ += static_cast<int64_t>(prompt.size()) - 1;
}

// Among windows with equal room, the one begun first is chosen: a multimap keeps equal keys in insertion
// order.
void PackedExamples::pack() {
  std::vector<std::vector<int64_t>> windows;
  std::multimap<int64_t, size_t> by_room;
  const WindowSampler order(kPackingSeed, num_examples());
  for (int64_t i = 0; i < num_examples(); ++i) {
    const int64_t example = order.window(i);
    const int64_t needed = examples_[static_cast<size_t>(example)].tokens - 1;
    size_t window = windows.size();
    int64_t room = sequence_length_;
    if (const auto found = by_room.lower_bound(needed); found != by_room.end()) {
      std::tie(room, window) = *found;
      by_room.erase(found);
    } else {
      windows.emplace_back();
    }
    windows[window].push_back(example);
    if (room > needed) by_room.emplace(room - needed, window);
  }
  first_of_window_.push_back(0);
  for (const std::vector<int64_t>& window : windows) {
    by_window_.insert(by_window_.end(), window.begin(), window.end());
    first_of_window_.push_back(static_cast<int64_t>(by_window_.size()));
  }
}

int64_t PackedExamples::answer_tokens(int64_t window) const {
  SSGPT_CHECK(window >= 0 && window < num_windows(), "window {} of {}", window, num_windows());
  int64_t sum = 0;
  for (int64_t i = first_of_window_[static_cast<size_t>(window)];
       i < first_of_window_[static_cast<size_t>(window) + 1]; ++i) {
    const Encoded& example = examples_[static_cast<size_t>(by_window_[static_cast<size_t>(i)])];
    sum += example.tokens - example.prompt;
  }
  return sum;
}

int64_t PackedExamples::most_spans(int64_t rows) const {
  std::vector<int64_t> spans;
  for (size_t window = 0; window + 1 < first_of_window_.size(); ++window) {
    int64_t room = sequence_length_;
    for (int64_t i = first_of_window_[window]; i < first_of_window_[window + 1]; ++i) {
      room -= examples_[static_cast<size_t>(by_window_[static_cast<size_t>(i)])].tokens - 1;
    }
    spans.push_back(first_of_window_[window + 1] - first_of_window_[window] + (room > 0 ? 1 : 0));
  }
  const auto counted = static_cast<std::ptrdiff_t>(std::min(rows, num_windows()));
  std::partial_sort(spans.begin(), spans.begin() + counted, spans.end(), std::greater<>());
  return std::accumulate(spans.begin(), spans.begin() + counted, rows - counted);
}

void PackedExamples::read(int64_t window, const ExampleRow& row) const {
  const auto length = static_cast<size_t>(sequence_length_);
  SSGPT_CHECK(window < num_windows(), "window {} of {}", window, num_windows());
  SSGPT_CHECK(row.inputs.size() == length && row.targets.size() == length && row.num_keys.size() == length,
              "a row that does not hold {} tokens", length);
  size_t at = 0;
  const int64_t end = window < 0 ? 0 : first_of_window_[static_cast<size_t>(window) + 1];
  for (int64_t i = window < 0 ? 0 : first_of_window_[static_cast<size_t>(window)]; i < end; ++i) {
    const Encoded& example = examples_[static_cast<size_t>(by_window_[static_cast<size_t>(i)])];
    const int32_t* tokens = tokens_.data() + example.first;
    for (int64_t t = 0; t + 1 < example.tokens; ++t, ++at) {
      row.inputs[at] = tokens[t];
      row.targets[at] = t + 1 >= example.prompt ? tokens[t + 1] : -1;
      row.num_keys[at] = static_cast<int32_t>(t + 1);
    }
  }
  for (int32_t n = 1; at < length; ++at, ++n) {
    row.inputs[at] = 0;
    row.targets[at] = -1;
    row.num_keys[at] = n;
  }
}

EpochOrder::EpochOrder(uint64_t seed, int64_t num_windows, int64_t rows)
    : sampler_(seed, num_windows), rows_(rows), steps_per_epoch_((num_windows + rows - 1) / rows) {
  SSGPT_CHECK(rows > 0, "steps of {} windows", rows);
}

int64_t EpochOrder::window(int64_t step, int64_t row) const {
  SSGPT_CHECK(step >= 0 && row >= 0 && row < rows_, "step {}, row {} of {}", step, row, rows_);
  const int64_t epoch = step / steps_per_epoch_;
  const int64_t in_epoch = step % steps_per_epoch_ * rows_ + row;
  if (in_epoch >= sampler_.num_windows()) return -1;
  return sampler_.window(epoch * sampler_.num_windows() + in_epoch);
}

}  // namespace ssgpt::data
