// Fine-tuning examples as token ids, several packed into each window, and the order in which training reads
// the windows. Everything is held in memory. Independent of tensors, models and ranks.
#pragma once

#include "config/config.h"
#include "data/sampler.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace ssgpt::data {

// One row of a batch, with T = sequence_length elements in each span.
struct ExampleRow {
  std::span<int32_t> inputs;
  std::span<int32_t> targets;   // -1 for no prediction: in prompts and padding
  std::span<int32_t> num_keys;  // keys that a position attends to: 1 + its offset in its example
};

// An example consists of the tokens of its prompt, which are the same as when text is generated after it, the
// tokens of its answer following them (tokenizer::encode_after), and EOS. EOS counts as part of the answer: a
// model that does not learn it never stops. Of its m tokens the first m - 1 are inputs and the last m - 1 are
// targets, of which only those of the answer are predicted, so it takes up m - 1 positions of a window and is
// never cut. Windows are packed best-fit: in a fixed random order each example goes into the window with the
// least room that holds it. Which examples share a window depends only on the examples and sequence_length.
class PackedExamples {
 public:
  // Reads and encodes the files of ExampleReader on all cores, with up to 80 MiB of text besides the ids. An
  // example of more than sequence_length + 1 tokens is refused or, with kSkip, left out and counted. Throws
  // as ExampleReader does, and core::InputError for a refused example, for one whose prompt or answer has no
  // tokens, and if no example remains.
  PackedExamples(const std::vector<std::filesystem::path>& paths, const tokenizer::Tokenizer& tokenizer,
                 int64_t sequence_length, config::OnLongExample on_long_example);

  int64_t sequence_length() const { return sequence_length_; }
  int64_t num_examples() const { return static_cast<int64_t>(examples_.size()); }
  int64_t num_left_out() const { return num_left_out_; }  // because of their length
  int64_t num_windows() const { return static_cast<int64_t>(first_of_window_.size()) - 1; }
  int64_t num_answer_tokens() const { return num_answer_tokens_; }  // tokens to predict, EOS included
  // Inputs that predict no token of an answer.
  int64_t num_prompt_tokens() const { return num_prompt_tokens_; }
  int64_t num_padding_tokens() const {
    return num_windows() * sequence_length_ - num_answer_tokens_ - num_prompt_tokens_;
  }

  // Number of tokens that window `window` predicts, 1 or more.
  int64_t answer_tokens(int64_t window) const;

  // Largest number of segments separated by document masking (examples, and the padding of a window) that
  // `rows` windows, some possibly empty, can have together.
  int64_t most_spans(int64_t rows) const;

  // Fills a row with the examples of a window; a negative `window` is all padding. Padding is token 0, a
  // segment of its own in which nothing is predicted.
  void read(int64_t window, const ExampleRow& row) const;

  // Checksum of the ids of all examples in order, and of where their answers begin.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  struct Encoded {
    int64_t first = 0;   // index of its first token in tokens_
    int64_t prompt = 0;  // number of tokens
    int64_t tokens = 0;  // number of all tokens, with EOS
  };

  void add(std::span<const int32_t> prompt, std::span<const int32_t> answer, int32_t eos,
           const std::string& place, config::OnLongExample on_long_example);
  void pack();

  const int64_t sequence_length_;
  std::vector<int32_t> tokens_;
  std::vector<Encoded> examples_;
  std::vector<int64_t> by_window_;        // indices of examples, window by window
  std::vector<int64_t> first_of_window_;  // index in by_window_, followed by its size
  int64_t num_left_out_ = 0;
  int64_t num_answer_tokens_ = 0;
  int64_t num_prompt_tokens_ = 0;
  std::string fingerprint_;
};

// Determines which windows a step reads: a pure function of (seed, step, row). Every epoch reads all windows
// once, in its own order, in ceil(windows / rows) steps; the surplus rows of its last step are empty.
class EpochOrder {
 public:
  // `rows`: windows per step, over all ranks.
  EpochOrder(uint64_t seed, int64_t num_windows, int64_t rows);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // The window for row `row` of step `step`, both from 0; -1: empty.
  int64_t window(int64_t step, int64_t row) const;
  int64_t rows() const { return rows_; }

 private:
  WindowSampler sampler_;
  int64_t rows_;
  int64_t steps_per_epoch_;
};

}  // namespace ssgpt::data
