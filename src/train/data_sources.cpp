#include "train/data_sources.h"

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <vector>

namespace ssgpt::train {
namespace {

// Reads the first tokens once, so that an id beyond the vocabulary is found before training and not in its
// midst.
void check_ids(const data::TokenSource& source, int64_t num_tokens, int64_t vocab_size) {
  constexpr int64_t kChunk = 1 << 20;
  std::vector<int32_t> tokens;
  for (int64_t first = 0; first < num_tokens; first += kChunk) {
    tokens.resize(static_cast<size_t>(std::min(kChunk, num_tokens - first)));
    source.read(first, tokens, vocab_size);
  }
}

}  // namespace

DataSources open_data(const config::Config& config) {
  DataSources sources{.training = data::TokenSource(core::expand_globs(config.data.train)),
                      .validation = std::nullopt,
                      .document_token_id = config.data.document_token_id};
  sources.num_windows = sources.training.num_windows(config.data.sequence_length);
  if (config.evaluate.every > 0 && !config.data.validation.empty()) {
    sources.validation.emplace(core::expand_globs(config.data.validation));
    const int64_t wanted = config.evaluate.batches * config.train.micro_batch_size;
    const int64_t available = sources.validation->num_windows(config.data.sequence_length);
    sources.validation_windows = std::min(wanted, available);
    check_ids(*sources.validation, sources.validation_windows * config.data.sequence_length + 1,
              config.model.vocab_size);
    if (available < wanted) {
      core::log::info(
          "The validation data hold {} windows; evaluate.batches asks for {}. All of them are used.",
          available, wanted);
    }
  }
  if (config.data.tokenizer) {
    const tokenizer::Tokenizer tokenizer(*config.data.tokenizer);
    if (tokenizer.vocab_size() > config.model.vocab_size) {
      throw core::InputError(
          "The tokenizer {} has {} pieces and model.vocab_size is {}: the model must hold them all.",
          config.data.tokenizer->string(), tokenizer.vocab_size(), config.model.vocab_size);
    }
    if (!sources.document_token_id) sources.document_token_id = tokenizer.eos_id();
  }
  if (!config.data.reset_at_document) sources.document_token_id.reset();
  return sources;
}

}  // namespace ssgpt::train
