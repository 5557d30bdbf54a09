// Generates text from given prompts during training.
#pragma once

#include "config/config.h"
#include "model/gpt.h"
#include "start/data_sources.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::train {

struct TextSample {
  std::string prompt;
  std::string text;  // the continuation; valid UTF-8
};

class SampleWriter {
 public:
  // For the prompts of config.evaluate.samples, which `data` holds as tokens.
  SampleWriter(const config::Config& config, const start::DataSources& data);

  // Generates one text per prompt; none without prompts. Uses the same random numbers at every step, so that
  // texts of different steps differ only by what was learned. Only reads the weights: its memory and random
  // numbers are its own. Throws core::RunError if the logits are not finite.
  std::vector<TextSample> write(const model::GPT& model) const;

  // The same, for a training that must go on: none, with a warning that names the step, where the logits are
  // not finite or the GPU has no memory left for the keys and values.
  std::vector<TextSample> write_if_possible(const model::GPT& model, int64_t step) const;

 private:
  const config::SamplesConfig samples_;
  const uint64_t seed_;
  const std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  const std::optional<int64_t> document_end_;
  const std::vector<std::vector<int64_t>> prompts_;  // tokens of each prompt
};

}  // namespace ssgpt::train
