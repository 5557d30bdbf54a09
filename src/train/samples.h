// What the model writes after given prompts while it is in training.
#pragma once

#include "config/config.h"
#include "model/gpt.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::train {

struct TextSample {
  std::string prompt;
  std::string text;  // what follows it; valid UTF-8
};

// The token behind which a document ends: the model's, else the tokenizer's (null: there is none), else none.
std::optional<int64_t> end_of_document(const model::GPTSpec& spec, const tokenizer::Tokenizer* tokenizer);

class SampleWriter {
 public:
  // Reads the prompts of config.evaluate.samples. Throws core::UsageError for one that is too long: prompt
  // and new tokens must fit into data.sequence_length.
  explicit SampleWriter(const config::Config& config);

  // One text a prompt, none without prompts. The random numbers are the same at every step, so that texts of
  // different steps differ by what was learned. Reads the weights alone: memory and random numbers are its
  // own.
  std::vector<TextSample> write(const model::GPT& model) const;

 private:
  const config::SamplesConfig samples_;
  const uint64_t seed_;
  std::unique_ptr<const tokenizer::Tokenizer> tokenizer_;  // null without prompts
  std::vector<std::vector<int64_t>> tokens_;               // of each prompt
};

}  // namespace ssgpt::train
