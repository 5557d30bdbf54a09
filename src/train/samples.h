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

// The token that ends a document, at which a sample stops and behind which an empty prompt begins: that of
// the model (GPTSpec::document_token_id), else the tokenizer's EOS (null: there is no tokenizer), else none.
std::optional<int64_t> end_of_document(std::optional<int64_t> document_token_id,
                                       const tokenizer::Tokenizer* tokenizer);

class SampleWriter {
 public:
  // Reads the prompts of config.evaluate.samples. `document_token_id`: the model's. Throws core::UsageError
  // for a prompt that is too long, as prompt and new tokens must fit into data.sequence_length, and for an
  // empty one where no token ends documents.
  SampleWriter(const config::Config& config, std::optional<int64_t> document_token_id);

  // One text a prompt, none without prompts. The random numbers are the same at every step, so that texts of
  // different steps differ by what was learned. Reads the weights alone: memory and random numbers are its
  // own. Throws core::RunError where the logits are not finite.
  std::vector<TextSample> write(const model::GPT& model) const;

 private:
  const config::SamplesConfig samples_;
  const uint64_t seed_;
  std::unique_ptr<const tokenizer::Tokenizer> tokenizer_;  // null without prompts
  std::optional<int64_t> document_end_;
  std::vector<std::vector<int64_t>> tokens_;  // of each prompt
};

}  // namespace ssgpt::train
