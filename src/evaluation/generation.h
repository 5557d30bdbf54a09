// Generates text from a checkpoint.
#pragma once

#include "evaluation/load_model.h"
#include "model/generate.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::evaluation {

struct GenerateOptions {
  std::filesystem::path checkpoint;   // ours, or a Hugging Face directory of a Llama or Qwen 3 model
  std::optional<std::string> prompt;  // text; exactly one of prompt and prompt_tokens is given
  std::optional<std::vector<int64_t>> prompt_tokens;
  std::optional<int64_t> max_tokens;  // per sample; default: kDefaultMaxTokens, or what a learned p_n allows
  model::SamplingOptions sampling;
  uint64_t seed = 1;
  int64_t num_samples = 1;
  bool ignore_eos = false;  // continue after the end of a document
  Placement placement;
};

inline constexpr int64_t kDefaultMaxTokens = 200;

struct TextSample {
  std::vector<int64_t> tokens;      // without the prompt; including the end of the document, if generated
  std::optional<std::string> text;  // of these tokens; nullopt without a tokenizer
  bool stopped = false;             // at the end of a document
};

struct GenerateReport {
  std::vector<TextSample> samples;
  std::vector<int64_t> prompt_tokens;
  std::string attention;
  std::optional<int64_t> step;  // nullopt unless a trainer wrote the checkpoint
  double prompt_seconds = 0.0;
  double decode_seconds = 0.0;
};

// Called with each part of a sample's text as soon as it is final, valid UTF-8; without a tokenizer with each
// token as a number and a blank.
using OnText = std::function<void(size_t sample, std::string_view text)>;

// An empty prompt starts a document: the model reads the token that ends one, as in the shards it was trained
// on. A sample stops after that token. Warns if more positions are used than the model was trained with.
// Throws core::UsageError for a token id outside the vocabulary, a text without a tokenizer, an empty prompt
// if no token ends documents, and a length beyond a learned p_n; core::InputError for a checkpoint that
// cannot be loaded.
GenerateReport generate_text(const GenerateOptions& options, const OnText& on_text = {});

}  // namespace ssgpt::evaluation
