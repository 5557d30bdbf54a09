// The examples of a fine-tuning: reading the files that a config names, and the number of steps in its
// epochs.
#pragma once

#include "config/config.h"
#include "data/packed_examples.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ssgpt::start {

// Opens the tokenizer that config.data names. Throws core::InputError if it cannot be read, or has more
// pieces than the model's vocabulary.
std::shared_ptr<const tokenizer::Tokenizer> open_tokenizer(const config::Config& config);

// Reads the examples in the files that `globs` match. Logs how many were left out because they are too long.
// Throws as data::PackedExamples does.
std::shared_ptr<const data::PackedExamples> read_examples(const config::Config& config,
                                                          const std::vector<std::string>& globs,
                                                          const tokenizer::Tokenizer& tokenizer);

// Throws core::UsageError, naming both, if a training file is also a validation file, or holds the same
// bytes. A missing validation file is ignored.
void refuse_shared_examples(const config::Config& config);

// Number of steps in which training reads each window once.
int64_t steps_per_epoch(const config::Config& config, const data::PackedExamples& examples);

// Replaces train.epochs and optimizer.schedule.warmup_epochs by numbers of steps, and unsets them.
// `known_steps`: steps per epoch of the run that is resumed (whether its examples are still the same is left
// to the code that reads them); 0: unknown, in which case the examples are read to count them, and returned.
// Otherwise, and if the config counts nothing in epochs, returns null. Throws core::UsageError if the numbers
// do not fit together or are too large.
std::shared_ptr<const data::PackedExamples> resolve_epochs(config::Config& config, int64_t known_steps = 0);

// Number of tokens that the whole run predicts, all of them in answers: the `tokens` of metrics.jsonl at its
// last step.
double predicted_tokens(const config::Config& config, const data::PackedExamples& examples);

// "12,000 examples ...": their number, their tokens, and how full their windows are.
std::string examples_text(const data::PackedExamples& examples);

}  // namespace ssgpt::start
