// How well a model finds what stands somewhere before: synthetic tasks (data/synthetic.h), at lengths of
// which most are far beyond those it was trained on. Reads no checkpoints and prints nothing.
#pragma once

#include "data/synthetic.h"
#include "model/gpt.h"
#include "report/measured.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace ssgpt::evaluation {

inline constexpr int64_t kMaxRetrievalTrials = 1'000'000;

struct RetrievalRequest {
  data::SyntheticTask task = data::SyntheticTask::kCopy;
  std::vector<int64_t> lengths;  // of trials, in tokens
  int64_t trials = 0;            // of each length, at most kMaxRetrievalTrials
  uint64_t seed = 1;             // of the trials
  int64_t batch_size = 0;        // trials at a time; 0: chosen by the length, about 8,192 tokens
  // Told after each batch how many tokens of trials are done, and of how many. What it throws ends the call.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

// One value for each of the request's lengths, in their order; trials[i] of each is the mean over the answers
// of trial i. A trial whose loss is not finite has no accuracy: it is NaN, and with it the mean.
struct RetrievalValues {
  std::vector<report::PointValue> accuracy;  // share of the answers whose logit is strictly the largest
  std::vector<report::PointValue> loss;      // cross-entropy, nats an answer
};

// Each answer is predicted given the true tokens before it, those of earlier answers included. Trial i of a
// length is data::trial_sequence(task, the model's vocab_size, length, seed, i), so models of one vocabulary
// are asked the same. The means are over all answers in fp64, the standard errors over trials. On a CPU the
// result has the same bits whatever batch_size. All `lengths` must be at most the model's sequence_length +
// 1: no prediction is made behind the last token.
//
// Throws core::UsageError where `lengths` is empty or has one out of the task's range, where trials are
// out of theirs, where the model's vocabulary is too small for the task, and for a model whose attention ends
// with a document, for the token that ends one may stand in a trial.
RetrievalValues retrieve(model::GPT& model, const RetrievalRequest& request);

}  // namespace ssgpt::evaluation
