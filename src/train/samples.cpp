#include "train/samples.h"

#include "core/error.h"
#include "model/generate.h"
#include "tokenizer/text_stream.h"

namespace ssgpt::train {

std::optional<int64_t> end_of_document(std::optional<int64_t> document_token_id,
                                       const tokenizer::Tokenizer* tokenizer) {
  if (document_token_id || tokenizer == nullptr) return document_token_id;
  try {
    return tokenizer->eos_id();
  } catch (const core::InputError&) {  // it has none
    return std::nullopt;
  }
}

SampleWriter::SampleWriter(const config::Config& config, std::optional<int64_t> document_token_id)
    : samples_(config.evaluate.samples), seed_(config.run.seed) {
  if (samples_.prompts.empty()) return;
  tokenizer_ = std::make_unique<const tokenizer::Tokenizer>(*config.data.tokenizer);
  document_end_ = end_of_document(document_token_id, tokenizer_.get());
  for (const std::string& prompt : samples_.prompts) {
    const std::vector<int32_t> ids = tokenizer_->encode(prompt);
    std::vector<int64_t> tokens(ids.begin(), ids.end());
    if (tokens.empty()) {  // a document begins behind the end of another, as in the shards
      if (!document_end_) {
        throw core::UsageError(
            "evaluate.samples.prompts: an empty prompt begins a document behind the end of another, but {} "
            "has "
            "no end-of-sequence piece (</s>), and the model no token that ends documents. Leave the empty "
            "prompt "
            "out, or set data.document_token_id with data.reset_at_document: true.",
            config.data.tokenizer->string());
      }
      tokens.push_back(*document_end_);
    }
    const auto length = static_cast<int64_t>(tokens.size());
    if (length + samples_.max_tokens > config.data.sequence_length) {
      throw core::UsageError(
          "evaluate.samples: the prompt \"{}\" of {} tokens and max_tokens = {} new ones do not fit into "
          "data.sequence_length = {}. Shorten the prompt, or lower evaluate.samples.max_tokens.",
          prompt, length, samples_.max_tokens, config.data.sequence_length);
    }
    tokens_.push_back(std::move(tokens));
  }
}

std::vector<TextSample> SampleWriter::write(const model::GPT& model) const {
  std::vector<TextSample> result;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    tokenizer::TextStream stream(*tokenizer_, tokens_[i]);
    TextSample sample{.prompt = samples_.prompts[i], .text = {}};
    model::GenerationOptions options;
    options.sampling.temperature = samples_.temperature;
    options.seed = seed_;
    options.max_tokens = samples_.max_tokens;
    options.stop_token = document_end_;
    model::generate(model, tokens_[i], options,
                    [&](size_t, int64_t token) { sample.text += stream.push(token); });
    sample.text += stream.finish();
    result.push_back(std::move(sample));
  }
  return result;
}

}  // namespace ssgpt::train
