#include "evaluation/generation.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/log.h"
#include "evaluation/load_model.h"
#include "start/data_sources.h"
#include "tokenizer/text_stream.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

namespace ssgpt::evaluation {
namespace {

using tokenizer::TextStream;
using tokenizer::Tokenizer;

void check_tokens(const std::vector<int64_t>& tokens, int64_t vocab_size) {
  for (const int64_t token : tokens) {
    if (token < 0 || token >= vocab_size) {
      throw core::UsageError("--prompt-tokens: {} is not a token of this model, whose ids are 0 to {}.",
                             token, vocab_size - 1);
    }
  }
}

std::vector<int64_t> encode(const GenerateOptions& options, int64_t vocab_size,
                            const std::optional<Tokenizer>& tokenizer) {
  const std::string checkpoint = options.checkpoint.string();
  if (!tokenizer) {
    throw core::UsageError(
        "{} holds no tokenizer.model, so --prompt cannot be read; give ids with --prompt-tokens.",
        checkpoint);
  }
  std::vector<int64_t> tokens;
  for (const int32_t id : tokenizer->encode(*options.prompt)) {
    if (id >= vocab_size) {
      throw core::InputError(
          "{}: its tokenizer has {} pieces and its model only {} tokens: they do not belong together.",
          checkpoint, tokenizer->vocab_size(), vocab_size);
    }
    tokens.push_back(id);
  }
  return tokens;
}

std::vector<int64_t> read_prompt(const GenerateOptions& options, const model::GPTSpec& spec,
                                 const std::optional<Tokenizer>& tokenizer) {
  const int64_t vocab_size = spec.config.vocab_size;
  if (options.prompt.has_value() == options.prompt_tokens.has_value()) {
    throw core::UsageError("Give either --prompt or --prompt-tokens.");
  }
  std::vector<int64_t> tokens;
  if (options.prompt_tokens) {
    check_tokens(*options.prompt_tokens, vocab_size);
    tokens = *options.prompt_tokens;
  } else if (!options.prompt->empty()) {
    tokens = encode(options, vocab_size, tokenizer);
  }
  if (!tokens.empty()) return tokens;
  const std::optional<int64_t> end =
      start::end_of_document(spec.document_token_id, tokenizer ? &*tokenizer : nullptr);
  if (!end) {
    throw core::UsageError(
        "The prompt is empty, and {} does not say which token ends a document, to begin a new one after "
        "it; give --prompt-tokens.",
        options.checkpoint.string());
  }
  return {*end};
}

// Number of tokens to generate: as requested, or the default limited by what the model can hold.
int64_t resolve_max_tokens(const GenerateOptions& options, const model::GPTSpec& spec,
                           int64_t prompt_length) {
  const std::optional<int64_t> most = model::most_new_tokens(spec, prompt_length);
  const int64_t wanted = options.max_tokens.value_or(kDefaultMaxTokens);
  const int64_t count = options.max_tokens ? wanted : std::min(wanted, most.value_or(wanted));
  if (count < 1 || count > most.value_or(count)) {
    throw core::UsageError(
        "{} has a learned p_n of {} entries: it reads no more than {} tokens, not a prompt of {} and {} new "
        "ones (the last of which is not read). Fewer fit: --max-tokens, or a shorter prompt.",
        options.checkpoint.string(), spec.sequence_length, spec.sequence_length, prompt_length,
        std::max<int64_t>(count, 1));
  }
  const int64_t positions = prompt_length + count - 1;
  if (positions > spec.sequence_length) {
    core::log::warning(
        "Up to {} positions are used, and the model was trained with {}: the text may get worse.", positions,
        spec.sequence_length);
  }
  return count;
}

// Turns the tokens of all samples into text as they are generated.
class Writer {
 public:
  Writer(const std::optional<Tokenizer>& tokenizer, const std::vector<int64_t>& context, int64_t num_samples,
         const OnText& on_text)
      : on_text_(on_text), texts_(static_cast<size_t>(num_samples)) {
    for (size_t i = 0; tokenizer && i < texts_.size(); ++i) streams_.emplace_back(*tokenizer, context);
  }

  void push(size_t sample, int64_t token) {
    add(sample, streams_.empty() ? fmt::format("{} ", token) : streams_[sample].push(token));
  }

  // Returns the samples with their texts; nothing may be pushed afterwards.
  std::vector<TextSample> finish(std::vector<model::GeneratedSample> samples) {
    std::vector<TextSample> result;
    for (size_t i = 0; i < samples.size(); ++i) {
      TextSample sample{.tokens = std::move(samples[i].tokens), .text = {}, .stopped = samples[i].stopped};
      if (!streams_.empty()) {
        add(i, streams_[i].finish());
        sample.text = std::move(texts_[i]);
      }
      result.push_back(std::move(sample));
    }
    return result;
  }

 private:
  void add(size_t sample, const std::string& text) {
    if (text.empty()) return;
    texts_[sample] += text;
    if (on_text_) on_text_(sample, text);
  }

  const OnText& on_text_;
  std::vector<TextStream> streams_;  // empty without a tokenizer
  std::vector<std::string> texts_;
};

}  // namespace

GenerateReport generate_text(const GenerateOptions& options, const OnText& on_text) {
  const std::optional<std::filesystem::path> tokenizer_path =
      checkpoint::read_summary(options.checkpoint).tokenizer;
  const LoadedModel loaded = load_model(options.checkpoint, {.placement = options.placement});
  const model::GPTSpec& spec = loaded.model->spec();
  std::optional<Tokenizer> tokenizer;
  if (tokenizer_path) tokenizer.emplace(*tokenizer_path);

  GenerateReport report;
  report.prompt_tokens = read_prompt(options, spec, tokenizer);
  report.attention = to_string(spec.config.attention.kind);
  if (loaded.trainer) report.step = loaded.trainer->step;
  const model::GenerationOptions generation{
      .sampling = options.sampling,
      .seed = options.seed,
      .max_tokens = resolve_max_tokens(options, spec, static_cast<int64_t>(report.prompt_tokens.size())),
      .num_samples = options.num_samples,
      .stop_token = options.ignore_eos
                        ? std::nullopt
                        : start::end_of_document(spec.document_token_id, tokenizer ? &*tokenizer : nullptr)};
  Writer writer(tokenizer, report.prompt_tokens, options.num_samples, on_text);
  model::Generation result =
      model::generate(*loaded.model, report.prompt_tokens, generation,
                      [&](size_t sample, int64_t token) { writer.push(sample, token); });
  report.prompt_seconds = result.prompt_seconds;
  report.decode_seconds = result.decode_seconds;
  report.samples = writer.finish(std::move(result.samples));
  return report;
}

}  // namespace ssgpt::evaluation
