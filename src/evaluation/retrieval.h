// How well a model finds what occurred earlier in its context: synthetic tasks (data/synthetic.h), mostly at
// lengths far beyond those it was trained on. Reads no checkpoints and prints nothing.
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
  std::vector<int64_t> lengths;  // of the trials, in tokens
  int64_t trials = 0;            // per length, at most kMaxRetrievalTrials
  uint64_t seed = 1;             // of the trials
  int64_t batch_size = 0;        // in trials; 0: about 8,192 tokens, by length
  // Called after each batch with the tokens of trials done, and their total. An exception from it ends the
  // call.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

// One value for each of the request's lengths, in their order; its trials[i] is the mean over the answers of
// trial i. A trial whose loss is not finite has no accuracy: it is NaN, and so is the mean.
struct RetrievalValues {
  std::vector<report::PointValue> accuracy;  // share of answers whose logit is strictly the largest
  std::vector<report::PointValue> loss;      // cross-entropy, nats per answer token
};

// Each answer is predicted given the true tokens before it, including those of earlier answers. Trial i of a
// length is data::trial_sequence(task, the model's vocab_size, length, seed, i), so models with the same
// vocabulary get the same trials. The means are over all answers in fp64, the standard errors over trials. On
// a CPU the result has the same bits for every batch_size. All `lengths` must be at most the model's
// sequence_length + 1: no prediction is made after the last token.
//
// Throws core::UsageError if `lengths` is empty or has one outside the task's range, if trials is out of
// range, if the model's vocabulary is too small for the task, and for a model with document masking, since
// the token that ends a document may occur in a trial.
RetrievalValues retrieve(model::GPT& model, const RetrievalRequest& request);

}  // namespace ssgpt::evaluation
