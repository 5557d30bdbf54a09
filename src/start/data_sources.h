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
  data::TokenSource training;                            // with data.format pretrain; so is validation
  std::optional<data::TokenSource> validation;           // nullopt: no validation
  std::shared_ptr<const data::PackedExamples> examples;  // with data.format sft; null with pretrain
  std::shared_ptr<const data::PackedExamples> validation_examples;  // null: no validation
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;            // null if the config names none
  std::optional<int64_t> document_token_id;                         // set for document masking
  std::optional<int64_t> document_end;  // token at which a sample stops; nullopt: no token ends documents
  std::vector<std::vector<int64_t>> prompts;  // evaluate.samples.prompts as tokens
  std::string tokenizer_fingerprint;          // checksum of its file; empty without tokenizer
  int64_t num_windows = 0;                    // for training
  int64_t validation_windows = 0;             // read by one validation

  bool has_validation() const { return validation.has_value() || validation_examples != nullptr; }
  std::string training_fingerprint() const;
  std::string validation_fingerprint() const;  // empty: no validation

  // Identifies the data of a validation loss in a metrics line: "<fingerprint>/<windows>".
  std::string validation_label() const;
};

// The token that ends a document, at which a sample stops and after which an empty prompt begins: the model's
// (GPTSpec::document_token_id), else the tokenizer's EOS, else none. `tokenizer` null: there is none.
std::optional<int64_t> end_of_document(std::optional<int64_t> document_token_id,
                                       const tokenizer::Tokenizer* tokenizer);

// Opens the files that config.data names and reads the prompts. Throws core::InputError for files that are
// missing or invalid, data shorter than a window, or a tokenizer whose vocabulary exceeds the model's or that
// did not make the shards; core::UsageError if training and validation share a shard, for a prompt that is
// too long, as prompt and new tokens must fit into data.sequence_length, and for an empty prompt if no token
// ends documents.
// `examples`: already read by resolve_epochs(), or null.
DataSources open_data(const config::Config& config,
                      std::shared_ptr<const data::PackedExamples> examples = nullptr);

// DataSources::training_fingerprint of the files that config.data.train names now, without opening anything
// else if they are shards. Throws core::InputError if they cannot be read.
std::string training_fingerprint(const config::Config& config);

// Loader options of one rank for the steps after `first_step`: its share of each step's samples, which
// together are those that a single process would read. The global batch must divide evenly among the ranks.
data::LoaderOptions loader_options(const config::Config& config, int64_t first_step, int64_t rank,
                                   int64_t num_ranks);

}  // namespace ssgpt::start
