// How well a model finds a needle in a haystack: what it answers, and how far it prefers the right number to
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
  int64_t batch_size = 0;             // trials at a time; 0: chosen by the length, about 8,192 tokens
  // Told after each batch how many tokens of trials are done, and of how many. What it throws ends the call.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

// Of one trial. Log-probabilities are in nats and over the tokens of a number, given the prompt.
struct NeedleOutcome {
  std::vector<int64_t> generated_tokens;  // greedy; without the token that ends a document
  std::string generated;                  // their text
  bool finite = false;                    // the log-probabilities are no NaN: else there is no outcome
  bool right = false;                     // see judge_answer
  int64_t leading_digits = 0;
  double log_probability = 0.0;  // of the right number
  std::vector<double> wrong;     // of each distractor
  // Where it was asked for, of each head, layer by layer: the weight that the last token of the prompt, which
  // predicts the first of the answer, pays to the needle's tokens together (the paper's needle score, figure
  // 7).
  std::vector<float> attention = {};
  double margin() const;  // log_probability minus the largest of `wrong`
};

// Each trial's prompt is read once, in pieces (model/decoder.h); the greedy answer of the settings'
// answer_tokens and all numbers are read behind it, from the same cached keys and values. Outcomes in the
// order of trials. Log-probabilities are logits in fp32 normalised in fp64. On a CPU in fp32 outcomes have
// the same bits whatever batch_size.
//
// `length` is at most the model's sequence_length + 1: nothing is read behind the last token.
std::vector<NeedleOutcome> find_needles(const model::GPT& model, const NeedlePrompts& prompts,
                                        const tokenizer::Tokenizer& tokenizer, int64_t length, int64_t depth,
                                        const NeedleRequest& request);

// Of the outcomes of one length and depth, with attention: the heads whose mean over trials is highest, and
// of each trial its highest head.   num_heads: of a layer.
report::NeedleAttention attention_on_needles(const std::vector<NeedleOutcome>& outcomes, int64_t num_heads);

// The figures of one length and depth; a trial that is not finite has none: it is NaN, and with it the mean.
struct NeedleValues {
  report::PointValue share_right;  // 1 for a right answer, 0 for a wrong one
  report::PointValue margin;
  int64_t first_digit_right = 0;  // trials whose answer has the first digit, right ones among them
};
NeedleValues values_of_outcomes(const std::vector<NeedleOutcome>& outcomes);

}  // namespace ssgpt::evaluation
