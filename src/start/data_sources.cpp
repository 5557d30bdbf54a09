#include "start/data_sources.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "data/sampler.h"
#include "start/examples.h"
#include "start/shard_checks.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace ssgpt::start {
namespace {

// Reads the validation windows once, so that a token id outside the vocabulary is found before training
// rather than during it.
void check_ids(const DataSources& sources, const config::Config& config) {
  const int64_t length = config.data.sequence_length;
  const int64_t available = sources.validation->num_windows(length);
  std::vector<int32_t> tokens(static_cast<size_t>(length + 1));
  for (int64_t i = 0; i < sources.validation_windows; ++i) {
    const int64_t window = data::sampled_window(i, sources.validation_windows, available);
    sources.validation->read(window * length, tokens, config.model.vocab_size);
  }
}

void set_validation_windows(const config::Config& config, int64_t available, DataSources& sources) {
  const int64_t wanted = config.evaluate.batches * config.train.global_batch_size;
  sources.validation_windows = std::min(wanted, available);
  if (available < wanted) {
    core::log::info(
        "The validation data hold {} windows; evaluate.batches asks for {}. All of them are used.", available,
        wanted);
  }
}

// The data named by data.validation are held out even if this run never reads them.
void refuse_training_on_held_out(const config::Config& config, const DataSources& sources) {
  if (sources.validation) return refuse_shared_shards(sources.training, *sources.validation);
  data::TokenSource held_out;
  try {
    held_out = data::TokenSource(core::expand_globs(config.data.validation));
  } catch (const core::InputError&) {  // nothing there to read
    return;
  }
  refuse_shared_shards(sources.training, held_out);
}

void read_prompts(const config::Config& config, DataSources& sources) {
  const config::SamplesConfig& samples = config.evaluate.samples;
  if (samples.prompts.empty()) return;
  sources.document_end = end_of_document(sources.document_token_id, sources.tokenizer.get());
  for (const std::string& prompt : samples.prompts) {
    const std::vector<int32_t> ids = sources.tokenizer->encode(prompt);
    std::vector<int64_t> tokens(ids.begin(), ids.end());
    if (tokens.empty()) {  // a document begins after another's end, as in the shards
      if (!sources.document_end) {
        throw core::UsageError(
            "evaluate.samples.prompts: an empty prompt begins a document after the end of another, but "
            "{} has no end-of-sequence piece (</s>), and the model no token that ends documents. Leave "
            "the empty prompt out, or set data.document_token_id with data.reset_at_document: true.",
            config.data.tokenizer->string());
      }
      tokens.push_back(*sources.document_end);
    }
    const auto length = static_cast<int64_t>(tokens.size());
    if (length + samples.max_tokens > config.data.sequence_length) {
      throw core::UsageError(
          "evaluate.samples: the prompt \"{}\" of {} tokens and max_tokens = {} new ones do not fit into "
          "data.sequence_length = {}. Shorten the prompt, or lower evaluate.samples.max_tokens.",
          prompt, length, samples.max_tokens, config.data.sequence_length);
    }
    sources.prompts.push_back(std::move(tokens));
  }
}

// Opens the validation shards beside those for training; returns what ssgpt prepare recorded of those for
// training and for validation.
std::vector<Prepared> open_shards(const config::Config& config, DataSources& sources) {
  std::vector<Prepared> prepared = {read_prepared(sources.training)};
  refuse_unfinished(prepared.back());
  sources.num_windows = sources.training.num_windows(config.data.sequence_length);
  if (config.evaluate.every > 0 && !config.data.validation.empty()) {
    sources.validation.emplace(core::expand_globs(config.data.validation));
    prepared.push_back(read_prepared(*sources.validation));
    refuse_unfinished(prepared.back());
    set_validation_windows(config, sources.validation->num_windows(config.data.sequence_length), sources);
    check_ids(sources, config);
  }
  refuse_training_on_held_out(config, sources);
  return prepared;
}

// Rows that pad the vocabulary to a multiple of 128 are usual, and make GEMMs faster.
void warn_of_unused_rows(const config::Config& config, const tokenizer::Tokenizer& tokenizer) {
  constexpr int64_t kPadding = 128;
  const int64_t unused = config.model.vocab_size - tokenizer.vocab_size();
  if (unused < kPadding) return;
  core::log::warning(
      "model.vocab_size is {}, and the tokenizer {} has {} pieces: {} rows of the embedding and of the output "
      "are never used.",
      config.model.vocab_size, config.data.tokenizer->string(), tokenizer.vocab_size(), unused);
}

void open_examples(const config::Config& config, DataSources& sources) {
  if (!sources.examples) sources.examples = read_examples(config, config.data.train, *sources.tokenizer);
  sources.num_windows = sources.examples->num_windows();
  refuse_shared_examples(config);
  if (config.evaluate.every == 0 || config.data.validation.empty()) return;
  sources.validation_examples = read_examples(config, config.data.validation, *sources.tokenizer);
  set_validation_windows(config, sources.validation_examples->num_windows(), sources);
}

}  // namespace

std::string DataSources::training_fingerprint() const {
  return examples ? examples->fingerprint() : training.fingerprint();
}

std::string DataSources::validation_fingerprint() const {
  if (validation_examples) return validation_examples->fingerprint();
  return validation ? validation->fingerprint() : "";
}

std::string DataSources::validation_label() const {
  return fmt::format("{}/{}", validation_fingerprint(), validation_windows);
}

std::optional<int64_t> end_of_document(std::optional<int64_t> document_token_id,
                                       const tokenizer::Tokenizer* tokenizer) {
  if (document_token_id || tokenizer == nullptr) return document_token_id;
  try {
    return tokenizer->eos_id();
  } catch (const core::InputError&) {  // it has none
    return std::nullopt;
  }
}

DataSources open_data(const config::Config& config, std::shared_ptr<const data::PackedExamples> examples) {
  DataSources sources;
  const bool is_sft = config.data.format == config::DataFormat::kSft;
  if (!is_sft) sources.training = data::TokenSource(core::expand_globs(config.data.train));
  // Before tokens are read: a vocabulary that is too small is named as such, not by the first id beyond it.
  if (config.data.tokenizer) sources.tokenizer = open_tokenizer(config);
  const std::vector<Prepared> prepared = is_sft ? std::vector<Prepared>() : open_shards(config, sources);
  sources.document_token_id = config.data.document_token_id;
  if (config.data.tokenizer) {
    warn_of_unused_rows(config, *sources.tokenizer);
    sources.tokenizer_fingerprint = core::checksum_of_file(*config.data.tokenizer);
    if (!sources.document_token_id) sources.document_token_id = sources.tokenizer->eos_id();
  }
  if (is_sft) {
    sources.examples = std::move(examples);
    open_examples(config, sources);
  }
  refuse_other_tokenizers(prepared, config.data.tokenizer, sources.tokenizer_fingerprint);
  if (!config.data.reset_at_document) sources.document_token_id.reset();
  read_prompts(config, sources);
  return sources;
}

std::string training_fingerprint(const config::Config& config) {
  const std::vector<std::string>& globs = config.data.train;
  if (config.data.format == config::DataFormat::kSft) {
    return read_examples(config, globs, *open_tokenizer(config))->fingerprint();
  }
  return data::TokenSource(core::expand_globs(globs)).fingerprint();
}

data::LoaderOptions loader_options(const config::Config& config, int64_t first_step, int64_t rank,
                                   int64_t num_ranks) {
  const int64_t rows = config.train.global_batch_size / num_ranks;
  return {.sequence_length = config.data.sequence_length,
          .vocab_size = config.model.vocab_size,
          .samples_per_step = config.train.global_batch_size,
          .first_row = rank * rows,
          .rows_per_step = rows,
          .micro_batch_size = config.train.micro_batch_size,
          .first_step = first_step};
}

}  // namespace ssgpt::start
