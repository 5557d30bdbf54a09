// A model whose predictions follow by hand: it repeats what stood a fixed number of tokens before.
#pragma once

#include "model/gpt.h"

#include <cstdint>

namespace ssgpt::evaluation {

// The logit of the token that is repeated; the logits of all others are 0.
inline constexpr double kRepeatedLogit = 5.0;

// One layer with one head, for windows of up to `longest` tokens. hidden_size: even, and at least
// 2 vocab_size + 2, for the token, a one and the repeated token.
model::GPTSpec repeating_spec(int64_t vocab_size, int64_t hidden_size, int64_t longest);

// Sets the weights of a model of such a spec, which are zero: its head attends to the token `distance`
// before, and the model predicts that one.
void set_repeating(model::GPT& gpt, int64_t distance);

}  // namespace ssgpt::evaluation
