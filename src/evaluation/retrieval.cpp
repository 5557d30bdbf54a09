#include "evaluation/retrieval.h"

#include "core/check.h"
#include "core/error.h"
#include "evaluation/trials.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include <ATen/ops/empty.h>

namespace ssgpt::evaluation {
namespace {

void check_request(const model::GPTSpec& spec, const RetrievalRequest& request) {
  if (request.lengths.empty()) throw core::UsageError("no length of trials was given");
  if (request.trials < 1 || request.trials > kMaxRetrievalTrials) {
    throw core::UsageError("{} trials of each length: allowed are 1 to {}", request.trials,
                           kMaxRetrievalTrials);
  }
  if (request.batch_size < 0) {
    throw core::UsageError(
        "batches of {} trials: allowed are 1 and more, and 0 for a size chosen by the length",
        request.batch_size);
  }
  for (const int64_t length : request.lengths) {
    data::check_synthetic(request.task, spec.config.vocab_size, length);
    SSGPT_CHECK(length - 1 <= spec.sequence_length, "trials of {} tokens, windows of up to {}", length,
                spec.sequence_length);
  }
  if (spec.document_token_id) {
    throw core::UsageError(
        "the model's attention ends with a document (data.reset_at_document), which token {} ends, and "
        "trials of the task {} may hold that token: retrieval cannot be measured of it",
        *spec.document_token_id, data::to_string(request.task));
  }
}

struct TrialBatch {
  at::Tensor inputs;   // int64 (B, length - 1): all tokens except the last
  at::Tensor targets;  // int64 (B, length - 1): the next token if it is an answer, else -1
};

TrialBatch make_batch(const RetrievalRequest& request, int64_t vocab_size, int64_t length, int64_t first,
                      int64_t rows) {
  const int64_t time = length - 1;
  const TrialBatch batch = {at::empty({rows, time}, at::kLong), at::empty({rows, time}, at::kLong)};
  for (int64_t row = 0; row < rows; ++row) {
    const data::TaskSequence trial =
        data::trial_sequence(request.task, vocab_size, length, request.seed, first + row);
    int64_t* inputs = batch.inputs.mutable_data_ptr<int64_t>() + row * time;
    int64_t* targets = batch.targets.mutable_data_ptr<int64_t>() + row * time;
    for (int64_t t = 0; t < time; ++t) {
      const auto next = static_cast<size_t>(t + 1);
      inputs[t] = trial.tokens[next - 1];
      targets[t] = trial.is_answer[next] != 0 ? trial.tokens[next] : -1;
    }
  }
  return batch;
}

// For each trial, the mean over its answers; no accuracy if the loss is not finite.
struct TrialMeans {
  std::vector<double> accuracy;
  std::vector<double> loss;
  int64_t answers = 0;  // per trial, the same for all trials of one length
};

// Adds each row of a batch. losses: fp32 (B, T); correct: bool (B, T); targets: int64 (B, T); all on the CPU.
void add_rows(const at::Tensor& losses, const at::Tensor& correct, const at::Tensor& targets,
              TrialMeans& means) {
  const int64_t time = targets.size(1);
  for (int64_t row = 0; row < targets.size(0); ++row) {
    double loss = 0.0;
    int64_t num_correct = 0;
    int64_t answers = 0;
    for (int64_t i = row * time; i < (row + 1) * time; ++i) {
      if (targets.const_data_ptr<int64_t>()[i] < 0) continue;
      ++answers;
      loss += static_cast<double>(losses.const_data_ptr<float>()[i]);
      num_correct += correct.const_data_ptr<bool>()[i] ? 1 : 0;
    }
    SSGPT_CHECK(answers > 0 && (means.answers == 0 || answers == means.answers), "{} answers, then {}",
                means.answers, answers);
    means.answers = answers;
    means.loss.push_back(loss / static_cast<double>(answers));
    // Logits that are not finite give no answer: that is a missing value, not a value of 0.
    means.accuracy.push_back(std::isfinite(loss)
                                 ? static_cast<double>(num_correct) / static_cast<double>(answers)
                                 : std::numeric_limits<double>::quiet_NaN());
  }
}

}  // namespace

RetrievalValues retrieve(model::GPT& model, const RetrievalRequest& request) {
  const model::GPTSpec& spec = model.spec();
  check_request(spec, request);
  RetrievalValues values;
  int64_t tokens = 0;  // of the trials done so far
  const int64_t all_tokens =
      std::accumulate(request.lengths.begin(), request.lengths.end(), int64_t{0}) * request.trials;
  for (const int64_t length : request.lengths) {
    const int64_t batch_size = batch_size_of(request.batch_size, length);
    TrialMeans means;
    for (int64_t first = 0; first < request.trials; first += batch_size) {
      const int64_t rows = std::min(batch_size, request.trials - first);
      const TrialBatch batch = make_batch(request, spec.config.vocab_size, length, first, rows);
      const model::TokenScores scores = model.token_scores(batch.inputs, batch.targets);
      add_rows(scores.losses.cpu(), scores.correct.cpu(), batch.targets, means);
      tokens += rows * length;
      if (request.on_progress) request.on_progress(tokens, all_tokens);
    }
    values.accuracy.push_back(value_of_trials(std::move(means.accuracy), means.answers));
    values.loss.push_back(value_of_trials(std::move(means.loss), means.answers));
  }
  return values;
}

}  // namespace ssgpt::evaluation
