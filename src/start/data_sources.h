// What a run reads: training and validation tokens and the tokenizer, checked against the config.
#pragma once

#include "config/config.h"
#include "data/loader.h"
#include "data/packed_examples.h"
#include "data/token_source.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

struct DataSources {
  data::TokenSource training;                            // of data.format pretrain; so is validation
  std::optional<data::TokenSource> validation;           // none: no validation
  std::shared_ptr<const data::PackedExamples> examples;  // of data.format sft, null with pretrain
  std::shared_ptr<const data::PackedExamples> validation_examples;  // null: no validation
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;            // null where the config names none
  std::optional<int64_t> document_token_id;  // set where attention must not cross documents
  std::optional<int64_t> document_end;  // the token at which a sample stops; none: no token ends documents
  std::vector<std::vector<int64_t>> prompts;  // the tokens of evaluate.samples.prompts
  std::string tokenizer_fingerprint;          // checksum of its file; empty: none
  int64_t num_windows = 0;                    // of training
  int64_t validation_windows = 0;             // that one validation reads

  bool has_validation() const { return validation.has_value() || validation_examples != nullptr; }
  std::string training_fingerprint() const;
  std::string validation_fingerprint() const;  // empty: no validation

  // What a validation loss is over, as a line of metrics says it: "<fingerprint>/<windows>".
  std::string validation_label() const;
};

// The token that ends a document, at which a sample stops and behind which an empty prompt begins: that of
// the model (GPTSpec::document_token_id), else the tokenizer's EOS (null: there is no tokenizer), else none.
std::optional<int64_t> end_of_document(std::optional<int64_t> document_token_id,
                                       const tokenizer::Tokenizer* tokenizer);

// Opens what config.data names and reads the prompts. Throws core::InputError for files that are missing or
// not what they should be, data shorter than a window, or a tokenizer whose vocabulary exceeds the model's or
// that did not make the shards; core::UsageError where training and validation share a shard;
// core::UsageError for a prompt that is too long, as prompt and new tokens must fit into
// data.sequence_length, and for an empty one where no token ends documents.
// `examples`: what resolve_epochs() has read already, null where it had not to.
DataSources open_data(const config::Config& config,
                      std::shared_ptr<const data::PackedExamples> examples = nullptr);

// DataSources::training_fingerprint of what config.data.train names now; of shards it opens nothing else.
// Throws core::InputError where it does not read.
std::string training_fingerprint(const config::Config& config);

// What the loader of one rank hands out from the step behind `first_step` on: its share of each step's
// samples, which are those that one process would read. The global batch divides among the ranks.
data::LoaderOptions loader_options(const config::Config& config, int64_t first_step, int64_t rank,
                                   int64_t num_ranks);

}  // namespace ssgpt::start
