// What the model writes after given prompts while it is in training.
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
  std::string text;  // what follows it; valid UTF-8
};

class SampleWriter {
 public:
  // Continues the prompts of config.evaluate.samples, which `data` holds as tokens.
  SampleWriter(const config::Config& config, const start::DataSources& data);

  // One text a prompt, none without prompts. The random numbers are the same at every step, so that texts of
  // different steps differ by what was learned. Reads the weights alone: memory and random numbers are its
  // own. Throws core::RunError where the logits are not finite.
  std::vector<TextSample> write(const model::GPT& model) const;

 private:
  const config::SamplesConfig samples_;
  const uint64_t seed_;
  const std::shared_ptr<const tokenizer::Tokenizer> tokenizer_;
  const std::optional<int64_t> document_end_;
  const std::vector<std::vector<int64_t>> prompts_;  // the tokens of each
};

}  // namespace ssgpt::train
