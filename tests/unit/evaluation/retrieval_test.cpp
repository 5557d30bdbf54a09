// Scores of models whose predictions follow by hand from the tokens alone.

#include "evaluation/retrieval.h"

#include "core/check.h"
#include "core/error.h"
#include "core/random.h"
#include "data/synthetic.h"
#include "evaluation/models.h"
#include "evaluation/repeating_model.h"
#include "model/support.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

using data::SyntheticTask;
using ::testing::HasSubstr;

// A model's logits in float64 for the token after `tokens[..t]`.
using Logits = std::function<std::vector<double>(const std::vector<int32_t>& tokens, int64_t t)>;

struct Expected {
  std::vector<double> accuracy;  // of each trial
  std::vector<double> loss;
  int64_t answers = 0;
};

Expected expect(const RetrievalRequest& request, int64_t vocab_size, int64_t length, const Logits& logits) {
  Expected expected;
  for (int64_t trial = 0; trial < request.trials; ++trial) {
    const data::TaskSequence sequence =
        data::trial_sequence(request.task, vocab_size, length, request.seed, trial);
    double correct = 0.0;
    double loss = 0.0;
    double answers = 0.0;
    for (int64_t i = 1; i < length; ++i) {
      if (sequence.is_answer[static_cast<size_t>(i)] == 0) continue;
      const std::vector<double> values = logits(sequence.tokens, i - 1);
      const auto target = static_cast<size_t>(sequence.tokens[static_cast<size_t>(i)]);
      double sum = 0.0;
      bool largest = true;
      for (size_t v = 0; v < values.size(); ++v) {
        sum += std::exp(values[v]);
        largest = largest && (v == target || values[v] < values[target]);
      }
      correct += largest ? 1.0 : 0.0;
      loss += std::log(sum) - values[target];
      answers += 1.0;
      ++expected.answers;
    }
    expected.accuracy.push_back(correct / answers);
    expected.loss.push_back(loss / answers);
  }
  return expected;
}

// All trials of one length have as many answers, so the mean over trials is that over answers.
void expect_value(const report::PointValue& value, const std::vector<double>& trials, int64_t answers,
                  double tolerance) {
  EXPECT_EQ(value.tokens, answers);
  ASSERT_EQ(value.trials.size(), trials.size());
  const auto count = static_cast<double>(trials.size());
  double mean = 0.0;
  for (size_t i = 0; i < trials.size(); ++i) {
    EXPECT_NEAR(value.trials[i], trials[i], tolerance) << "trial " << i;
    mean += trials[i] / count;
  }
  double variance = 0.0;
  for (const double trial : trials) variance += (trial - mean) * (trial - mean) / (count - 1.0);
  EXPECT_NEAR(value.mean, mean, tolerance);
  EXPECT_NEAR(value.standard_error, std::sqrt(variance / count), tolerance);
}

// Accuracies are quotients of small integers: exact but for the last bits of a double. Each loss is made of a
// few fp32 numbers below 20, off by 2^-24 of themselves each.
constexpr double kAccuracyTolerance = 1e-12;
constexpr double kLossTolerance = 1e-5;

constexpr int64_t kBigramVocab = 16;

double bigram_logit(int64_t next, int64_t token) {
  if (token == 3 && (next == 5 || next == 6)) return 4.0;  // a tie of the two largest: neither is right
  const uint64_t index = static_cast<uint64_t>(next * kBigramVocab + token);
  return std::min(3.0, core::random_normal(core::stream_key(9, "bigram"), index));
}

// Blocks that add nothing, one-hot embeddings and a head that is the table of bigrams.
model::GPT bigram_model(int64_t longest) {
  model::GPTSpec spec;
  spec.config.vocab_size = kBigramVocab;
  spec.config.hidden_size = kBigramVocab;
  spec.config.num_hidden_layers = 1;
  spec.config.num_attention_heads = 1;
  spec.config.intermediate_size = 8;
  spec.sequence_length = longest;
  return model::GPT(spec, {});
}

void set_bigrams(model::ParameterStore& store, double norm_eps) {
  const double normed = 1.0 / std::sqrt(1.0 / kBigramVocab + norm_eps);  // what a one-hot's 1 becomes
  float* embedding = store.master("model.embed_tokens.weight").mutable_data_ptr<float>();
  float* head = store.master("lm_head.weight").mutable_data_ptr<float>();
  store.master("model.norm.weight").fill_(1.0);
  for (int64_t token = 0; token < kBigramVocab; ++token) {
    embedding[token * kBigramVocab + token] = 1.0F;
    for (int64_t next = 0; next < kBigramVocab; ++next) {
      head[next * kBigramVocab + token] = static_cast<float>(bigram_logit(next, token) / normed);
    }
  }
  store.refresh_compute();
}

TEST(Retrieval, ScoresOfABigramModelFollowFromTheTokens) {
  model::GPT gpt = bigram_model(63);
  set_bigrams(gpt.parameters(), gpt.spec().config.rms_norm_eps);
  const auto logits = [](const std::vector<int32_t>& tokens, int64_t t) {
    std::vector<double> values;
    for (int64_t next = 0; next < kBigramVocab; ++next) {
      values.push_back(bigram_logit(next, tokens[static_cast<size_t>(t)]));
    }
    return values;
  };
  for (const SyntheticTask task : {SyntheticTask::kCopy, SyntheticTask::kPasskey}) {
    const RetrievalRequest request = {.task = task, .lengths = {64, 21, 10}, .trials = 40, .seed = 5};
    const RetrievalValues values = retrieve(gpt, request);
    ASSERT_EQ(values.accuracy.size(), 3u);
    ASSERT_EQ(values.loss.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      const Expected expected = expect(request, kBigramVocab, request.lengths[i], logits);
      expect_value(values.accuracy[i], expected.accuracy, expected.answers, kAccuracyTolerance);
      expect_value(values.loss[i], expected.loss, expected.answers, kLossTolerance);
    }
    EXPECT_GT(values.accuracy[0].mean, 0.0);
    EXPECT_LT(values.accuracy[0].mean, 0.5);
  }
  // The ties were met.
  int64_t ties = 0;
  for (int64_t trial = 0; trial < 40; ++trial) {
    const std::vector<int32_t> tokens =
        data::trial_sequence(SyntheticTask::kCopy, kBigramVocab, 64, 5, trial).tokens;
    for (size_t i = 36; i < 64; ++i) ties += tokens[i - 1] == 3 && (tokens[i] == 5 || tokens[i] == 6) ? 1 : 0;
  }
  EXPECT_GT(ties, 0);
}

TEST(Retrieval, HeadThatLooksBackOneDistanceCopiesAtOneLength) {
  constexpr int64_t kCopyVocab = 8;
  constexpr int64_t kDistance = 31;
  // Nothing is predicted after the last of 100 tokens.
  model::GPT gpt(repeating_spec(kCopyVocab, /*hidden_size=*/24, /*longest=*/99), {});
  set_repeating(gpt, kDistance);
  const auto logits = [](const std::vector<int32_t>& tokens, int64_t t) {
    std::vector<double> values(kCopyVocab, 0.0);
    values[static_cast<size_t>(tokens[static_cast<size_t>(t - kDistance)])] = kRepeatedLogit;
    return values;
  };
  // Segments of 32 and of 50 tokens: the answer stands 31 and 49 before the query.
  const RetrievalRequest request = {
      .task = SyntheticTask::kCopy, .lengths = {64, 100}, .trials = 20, .seed = 1};
  const RetrievalValues values = retrieve(gpt, request);
  EXPECT_EQ(values.accuracy[0].mean, 1.0);
  EXPECT_EQ(values.accuracy[0].standard_error, 0.0);
  EXPECT_LT(values.accuracy[1].mean, 0.25);  // chance is 1/8
  for (size_t i = 0; i < 2; ++i) {
    const Expected expected = expect(request, kCopyVocab, request.lengths[i], logits);
    expect_value(values.accuracy[i], expected.accuracy, expected.answers, kAccuracyTolerance);
    expect_value(values.loss[i], expected.loss, expected.answers, kLossTolerance);
  }
  EXPECT_EQ(values.accuracy[0].tokens, 20 * 28);
  EXPECT_EQ(values.accuracy[1].tokens, 20 * 46);
}

TEST(Retrieval, BatchChangesNoBit) {
  for (const config::AttentionKind kind : {config::AttentionKind::kSoftmax, config::AttentionKind::kSsmax}) {
    model::GPTSpec spec = model::small_spec(kind);
    spec.sequence_length = 63;
    model::GPT gpt(spec, {});
    model::randomize(gpt.parameters(), 5);
    RetrievalRequest request = {
        .task = SyntheticTask::kCopy, .lengths = {64, 33}, .trials = 11, .seed = 2, .batch_size = 1};
    const RetrievalValues one = retrieve(gpt, request);
    for (const int64_t batch_size : {8, 3, 0}) {
      request.batch_size = batch_size;
      const RetrievalValues other = retrieve(gpt, request);
      for (size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(one.loss[i].trials, other.loss[i].trials) << batch_size;
        EXPECT_EQ(one.loss[i].mean, other.loss[i].mean);
        EXPECT_EQ(one.loss[i].standard_error, other.loss[i].standard_error);
        EXPECT_EQ(one.accuracy[i].trials, other.accuracy[i].trials);
        EXPECT_EQ(one.accuracy[i].mean, other.accuracy[i].mean);
      }
    }
  }
}

TEST(Retrieval, OneTrialHasNoStandardError) {
  model::GPT gpt = bigram_model(63);
  set_bigrams(gpt.parameters(), gpt.spec().config.rms_norm_eps);
  const RetrievalValues values = retrieve(gpt, {.task = SyntheticTask::kCopy, .lengths = {64}, .trials = 1});
  EXPECT_TRUE(std::isfinite(values.loss[0].mean));
  EXPECT_TRUE(std::isnan(values.loss[0].standard_error));
  EXPECT_TRUE(std::isnan(values.accuracy[0].standard_error));
}

TEST(Retrieval, TrialsWithoutAFiniteLossHaveNoAccuracy) {
  model::GPT gpt = bigram_model(63);
  set_bigrams(gpt.parameters(), gpt.spec().config.rms_norm_eps);
  // The logits behind token 15 are NaN: whoever is asked for an answer there has no loss.
  gpt.parameters().master("model.embed_tokens.weight").select(0, 15).fill_(std::nan(""));
  gpt.parameters().refresh_compute();
  const RetrievalRequest request = {.task = SyntheticTask::kCopy, .lengths = {12}, .trials = 40, .seed = 5};
  const RetrievalValues values = retrieve(gpt, request);
  int64_t without = 0;
  for (int64_t trial = 0; trial < request.trials; ++trial) {
    const data::TaskSequence sequence =
        data::trial_sequence(request.task, kBigramVocab, 12, request.seed, trial);
    bool met = false;
    // Blocks add nothing of other tokens but NaN: attention looks at all before.
    for (size_t i = 0; i + 1 < sequence.tokens.size(); ++i) met = met || sequence.tokens[i] == 15;
    const auto index = static_cast<size_t>(trial);
    EXPECT_EQ(std::isnan(values.loss[0].trials[index]), met) << trial;
    EXPECT_EQ(std::isnan(values.accuracy[0].trials[index]), met) << trial;
    without += met ? 1 : 0;
  }
  EXPECT_GT(without, 0);
  EXPECT_LT(without, request.trials);
  EXPECT_TRUE(std::isnan(values.accuracy[0].mean));
}

TEST(Retrieval, RequestsThatCannotBeMeasuredAreRefused) {
  model::GPTSpec spec = model::small_spec(config::AttentionKind::kSoftmax);
  spec.config.vocab_size = 8;
  const auto refused = [&](const RetrievalRequest& request) {
    model::GPT gpt(spec, {});
    return message_of<core::UsageError>([&] { retrieve(gpt, request); });
  };
  const RetrievalRequest good = {.task = SyntheticTask::kCopy, .lengths = {10}, .trials = 2};
  EXPECT_EQ(refused(good), "nothing was thrown");
  RetrievalRequest request = good;
  request.lengths = {10, 9};
  EXPECT_THAT(refused(request), HasSubstr("sequences of 9 tokens: the task copy takes 10"));
  request = good;
  request.lengths.clear();
  EXPECT_THAT(refused(request), HasSubstr("no length"));
  request = good;
  request.trials = 0;
  EXPECT_THAT(refused(request), HasSubstr("0 trials"));
  request = good;
  request.batch_size = -1;
  EXPECT_THAT(refused(request), HasSubstr("batches of -1"));
  request = good;
  request.task = SyntheticTask::kPasskey;
  EXPECT_THAT(refused(request), HasSubstr("a vocabulary of 8: the task passkey takes 9"));
  request = good;
  request.lengths = {13};  // 12 predictions, windows of 11
  EXPECT_THROW(refused(request), core::InternalError);
  spec.document_token_id = 3;
  EXPECT_THAT(refused(good), HasSubstr("reset_at_document"));
}

}  // namespace
}  // namespace ssgpt::evaluation
