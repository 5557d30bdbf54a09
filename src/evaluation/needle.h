// How well a model finds a needle in a haystack: its answer, and how strongly it prefers the right number to
// wrong ones. Reads no checkpoints and prints nothing.
#pragma once

#include "evaluation/needle_prompts.h"
#include "model/gpt.h"
#include "report/evaluation.h"
#include "report/measured.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

struct NeedleRequest {
  std::optional<int64_t> stop_token;  // ends a document: an answer ends before it
  bool attention = false;             // also measure the attention on the needle
  int64_t batch_size = 0;             // in trials; 0: about 8,192 tokens, by length
  // Called after each batch with the tokens of trials done, and their total. An exception from it ends the
  // call.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

// Outcome of one trial. Log-probabilities are in nats and over the tokens of a number, given the prompt.
struct NeedleOutcome {
  std::vector<int64_t> generated_tokens;  // greedy; without the token that ends a document
  std::string generated;                  // their text
  bool finite = false;                    // no log-probability is NaN; otherwise there is no outcome
  bool right = false;                     // see judge_answer
  int64_t leading_digits = 0;
  double log_probability = 0.0;  // of the right number
  std::vector<double> wrong;     // of each distractor
  // If requested, for each head, layer by layer: the total attention weight on the needle's tokens of the
  // prompt's last token, which predicts the first token of the answer (the paper's needle score, figure 7).
  std::vector<float> attention = {};
  double margin() const;  // log_probability minus the largest of `wrong`
};

// Each trial's prompt is read once, in chunks (model/decoder.h); the greedy answer of answer_tokens tokens
// and all numbers are read after it from the same KV cache. Returns the outcomes in trial order.
// Log-probabilities are fp32 logits normalised in fp64. On a CPU in fp32 the outcomes have the same bits for
// every batch_size.
//
// `length` is at most the model's sequence_length + 1: nothing is read after the last token.
std::vector<NeedleOutcome> find_needles(const model::GPT& model, const NeedlePrompts& prompts,
                                        const tokenizer::Tokenizer& tokenizer, int64_t length, int64_t depth,
                                        const NeedleRequest& request);

// For the outcomes of one length and depth, with attention: the heads with the highest mean over trials, and
// each trial's highest head. num_heads: per layer.
report::NeedleAttention attention_on_needles(const std::vector<NeedleOutcome>& outcomes, int64_t num_heads);

// The figures of one length and depth. A trial that is not finite has none: it is NaN, and so is the mean.
struct NeedleValues {
  report::PointValue share_right;  // 1 for a right answer, 0 for a wrong one
  report::PointValue margin;
  int64_t first_digit_right = 0;  // trials whose answer has the first digit, right answers included
};
NeedleValues values_of_outcomes(const std::vector<NeedleOutcome>& outcomes);

}  // namespace ssgpt::evaluation
