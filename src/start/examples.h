// The examples of a fine-tuning: reading what a config names, and how many steps its epochs are.
#pragma once

#include "config/config.h"
#include "data/packed_examples.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ssgpt::start {

// The tokenizer that config.data names. Throws core::InputError where it does not read, or has more pieces
// than the model.
std::shared_ptr<const tokenizer::Tokenizer> open_tokenizer(const config::Config& config);

// The examples in the files that `globs` name. Says how many were left out for their length. Throws as
// data::PackedExamples does.
std::shared_ptr<const data::PackedExamples> read_examples(const config::Config& config,
                                                          const std::vector<std::string>& globs,
                                                          const tokenizer::Tokenizer& tokenizer);

// Throws core::UsageError, naming both, where a file to train on is one to validate on, or holds the same
// bytes. A file to validate on that is not there is passed over.
void refuse_shared_examples(const config::Config& config);

// Steps in which training reads each window once.
int64_t steps_per_epoch(const config::Config& config, const data::PackedExamples& examples);

// Puts numbers of steps in the place of train.epochs and optimizer.schedule.warmup_epochs, which are none
// then. `known_steps`: of an epoch of the run that goes on; whether its examples are still the same is for
// whoever reads them to compare. 0: not known, and then the examples are read for it and returned; otherwise,
// and where the config counts nothing in epochs, null. Throws core::UsageError where the numbers do not fit
// together or are too large.
std::shared_ptr<const data::PackedExamples> resolve_epochs(config::Config& config, int64_t known_steps = 0);

// Tokens that the run predicts in all, which are those of answers: what metrics.jsonl has under `tokens` at
// its last step.
double predicted_tokens(const config::Config& config, const data::PackedExamples& examples);

// "12,000 examples ...": how many, their tokens, and how full their windows are.
std::string examples_text(const data::PackedExamples& examples);

}  // namespace ssgpt::start
