// Answers and margins of models whose predictions follow by hand, and of random models beside full forwards.

#include "evaluation/needle.h"

#include "core/check.h"
#include "evaluation/load_model.h"
#include "evaluation/models.h"
#include "evaluation/needle_trials.h"
#include "evaluation/repeating_model.h"
#include "model/reference.h"
#include "model/support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ops/from_blob.h>
#include <ATen/ops/log_softmax.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

constexpr int64_t kNeedleVocab = NeedleText::kVocab;

class Needles : public testing::Test {
 protected:
  NeedlePrompts prompts(const NeedleSettings& settings) const {
    return {haystack_, text_.tokenizer(), settings, kNeedleVocab};
  }
  std::vector<NeedleOutcome> find(const model::GPT& gpt, const NeedlePrompts& prompts, int64_t length,
                                  int64_t depth, int64_t batch_size = 0) const {
    return find_needles(
        gpt, prompts, text_.tokenizer(), length, depth,
        {.stop_token = NeedleText::kDocumentEnd, .attention = true, .batch_size = batch_size});
  }
  const NeedleText text_{{made_text(150, 4), made_text(150, 5)}};
  const Haystack haystack_ = text_.haystack(1000);
};

// --- A model that repeats what stood a fixed number of tokens before

// From the last token of a prompt back to the first of the number in its needle.
int64_t distance_of(const NeedlePrompt& prompt) {
  const auto needle = prompt.tokens.begin() + prompt.needle_first;
  const auto number =
      std::search(needle, needle + prompt.needle_tokens, prompt.answer.begin(), prompt.answer.end());
  return prompt.tokens.end() - 1 - number;
}

// The probability that the repeating model gives a number after a prompt, by hand.
double repeated_probability(const NeedlePrompt& prompt, const std::vector<int64_t>& number,
                            int64_t distance) {
  std::vector<int64_t> tokens = prompt.tokens;
  const double others = std::log(std::exp(kRepeatedLogit) + static_cast<double>(kNeedleVocab - 1));
  double sum = 0.0;
  for (const int64_t token : number) {
    sum +=
        (tokens[tokens.size() - 1 - static_cast<size_t>(distance)] == token ? kRepeatedLogit : 0.0) - others;
    tokens.push_back(token);
  }
  return sum;
}

TEST_F(Needles, AModelThatRepeatsFindsThoseAtItsDistance) {
  const NeedleSettings settings{.lengths = {150}, .depths = {0, 50, 100}, .trials = 24, .seed = 1};
  const NeedlePrompts trials = prompts(settings);
  const int64_t distance = distance_of(trials.make(150, 100, 0));
  model::GPT gpt(repeating_spec(kNeedleVocab, 2 * kNeedleVocab + 2, 149), {});
  set_repeating(gpt, distance);
  int64_t right = 0;
  int64_t wrong = 0;
  for (const int64_t depth : settings.depths) {
    const std::vector<NeedleOutcome> outcomes = find(gpt, trials, 150, depth);
    ASSERT_EQ(outcomes.size(), 24u);
    for (int64_t trial = 0; trial < settings.trials; ++trial) {
      const NeedlePrompt prompt = trials.make(150, depth, trial);
      const NeedleOutcome& outcome = outcomes[static_cast<size_t>(trial)];
      std::vector<int64_t> expected = prompt.tokens;
      for (int64_t i = 0; i < settings.answer_tokens; ++i)
        expected.push_back(expected[expected.size() - 1 - static_cast<size_t>(distance)]);
      expected.erase(expected.begin(), expected.begin() + static_cast<int64_t>(prompt.tokens.size()));
      EXPECT_EQ(outcome.generated_tokens, expected);
      // At another distance the number may stand a little later in what is repeated, and whole.
      const std::string repeated =
          text_.tokenizer().decode(std::vector<int32_t>(expected.begin(), expected.end()));
      EXPECT_EQ(outcome.generated, repeated);
      const bool whole = repeated.find(prompt.number) != std::string::npos;
      EXPECT_EQ(outcome.right, whole);
      EXPECT_TRUE(whole || distance_of(prompt) != distance);
      EXPECT_TRUE(outcome.finite);
      (outcome.right ? right : wrong) += 1;
      // Sums of eight fp32 logits of 5 and their logarithms in fp64.
      EXPECT_NEAR(outcome.log_probability, repeated_probability(prompt, prompt.answer, distance), 1e-4);
      double best = -std::numeric_limits<double>::infinity();
      for (size_t k = 0; k < prompt.wrong.size(); ++k) {
        const double one = repeated_probability(prompt, prompt.wrong[k], distance);
        EXPECT_NEAR(outcome.wrong[k], one, 1e-4);
        best = std::max(best, one);
      }
      EXPECT_NEAR(outcome.margin(), repeated_probability(prompt, prompt.answer, distance) - best, 1e-4);
      // The one head attends to a single token, in the needle or not.
      const int64_t looked = static_cast<int64_t>(prompt.tokens.size()) - 1 - distance;
      const bool in_needle =
          looked >= prompt.needle_first && looked < prompt.needle_first + prompt.needle_tokens;
      ASSERT_EQ(outcome.attention.size(), 1u);
      EXPECT_NEAR(outcome.attention[0], in_needle ? 1.0 : 0.0, 1e-6);
      // The number's tokens are those that are repeated at one distance, and chance ones at others.
      EXPECT_EQ(outcome.margin() > 20.0, distance_of(prompt) == distance);
    }
  }
  EXPECT_GT(right, 2);
  EXPECT_GT(wrong, 40);
}

// --- Random models beside full forwards in float64

using Kind = config::AttentionKind;

model::GPTSpec needle_spec(Kind kind, int64_t longest) {
  model::GPTSpec spec = model::small_spec(kind);
  spec.config.vocab_size = kNeedleVocab;
  spec.sequence_length = longest;
  return spec;
}

// fp64 (T, V): the log-probabilities behind each token.
at::Tensor log_probabilities(const model::Reference& reference, std::vector<int64_t> tokens) {
  const at::Tensor row =
      at::from_blob(tokens.data(), {1, static_cast<int64_t>(tokens.size())}, at::kLong).clone();
  return reference.logits(row)[0].log_softmax(-1).detach();
}

class NeedlesOfKind : public Needles, public testing::WithParamInterface<Kind> {};

TEST_P(NeedlesOfKind, AreThoseOfFullForwardsInFloat64) {
  constexpr int64_t kLength = 300;  // of which a piece of a prompt and a part of one
  model::GPT gpt(needle_spec(GetParam(), kLength - 1), {});
  model::randomize(gpt.parameters(), 5);
  const model::Reference reference(gpt.spec(), gpt.parameters(), at::kDouble);
  const NeedlePrompts trials =
      prompts({.lengths = {kLength}, .depths = {30}, .trials = 2, .seed = 2, .distractors = 1});
  const std::vector<NeedleOutcome> outcomes = find(gpt, trials, kLength, 30, 2);
  for (int64_t trial = 0; trial < 2; ++trial) {
    const NeedlePrompt prompt = trials.make(kLength, 30, trial);
    const NeedleOutcome& outcome = outcomes[static_cast<size_t>(trial)];
    const auto score = [&](const std::vector<int64_t>& number) {
      std::vector<int64_t> tokens = prompt.tokens;
      tokens.insert(tokens.end(), number.begin(), number.end());
      const at::Tensor values = log_probabilities(reference, tokens);
      double sum = 0.0;
      for (size_t i = 0; i < number.size(); ++i)
        sum += values[static_cast<int64_t>(prompt.tokens.size() + i) - 1][number[i]].item<double>();
      return sum;
    };
    // Eight fp32 log-probabilities of logits below some 30, each off by kFp32Tolerance of that.
    constexpr double kTolerance = 8 * 30 * model::kFp32Tolerance;
    const double right = score(prompt.answer);
    EXPECT_NEAR(outcome.log_probability, right, kTolerance);
    const double wrong = score(prompt.wrong[0]);
    EXPECT_NEAR(outcome.wrong[0], wrong, kTolerance);
    EXPECT_NEAR(outcome.margin(), right - wrong, 2 * kTolerance);
    std::vector<int64_t> tokens = prompt.tokens;
    tokens.insert(tokens.end(), outcome.generated_tokens.begin(), outcome.generated_tokens.end());
    tokens.resize(std::min<size_t>(tokens.size(), kLength - 1));  // behind the last nothing is predicted
    const at::Tensor values = log_probabilities(reference, tokens);
    for (size_t i = 0; i < outcome.generated_tokens.size(); ++i) {
      const at::Tensor row = values[static_cast<int64_t>(prompt.tokens.size() + i) - 1];
      EXPECT_GE(row[outcome.generated_tokens[i]].item<double>(), row.max().item<double>() - kTolerance);
    }
    EXPECT_LE(outcome.generated_tokens.size(), 10u);
  }
}

TEST_P(NeedlesOfKind, DoNotDependOnTheBatch) {
  constexpr int64_t kLength = 280;
  model::GPT gpt(needle_spec(GetParam(), kLength - 1), {});
  model::randomize(gpt.parameters(), 6);
  const NeedlePrompts trials =
      prompts({.lengths = {kLength}, .depths = {50}, .trials = 9, .seed = 2, .distractors = 2});
  const std::vector<NeedleOutcome> one = find(gpt, trials, kLength, 50, 1);
  for (const int64_t batch_size : {8, 0}) {
    const std::vector<NeedleOutcome> other = find(gpt, trials, kLength, 50, batch_size);
    ASSERT_EQ(other.size(), one.size());
    for (size_t i = 0; i < one.size(); ++i) {
      EXPECT_EQ(one[i].generated_tokens, other[i].generated_tokens);
      EXPECT_EQ(one[i].generated, other[i].generated);
      EXPECT_EQ(one[i].log_probability, other[i].log_probability) << batch_size;
      EXPECT_EQ(one[i].wrong, other[i].wrong) << batch_size;
      ASSERT_EQ(one[i].attention.size(), 2u * 3u);
      for (size_t head = 0; head < 6; ++head)  // ATen's products, whose order is its own
        EXPECT_NEAR(one[i].attention[head], other[i].attention[head], 1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, NeedlesOfKind, testing::ValuesIn(model::all_kinds()),
                         [](const auto& kind) { return std::string(config::to_string(kind.param)); });

TEST_F(Needles, EndWithADocument) {
  // All logits are equal but those of the token that ends a document, and of one that stands for a digit.
  model::GPT gpt(needle_spec(Kind::kSoftmax, 199), {});
  const int64_t eight = text_.tokenizer().encode("8").back();
  const at::Tensor head = gpt.parameters().master("lm_head.weight");
  gpt.parameters().master("model.embed_tokens.weight").fill_(1.0);
  gpt.parameters().master("model.norm.weight").fill_(1.0);
  head[eight].fill_(0.5);
  gpt.parameters().refresh_compute();
  const NeedlePrompts trials = prompts({.lengths = {200}, .depths = {0}, .trials = 3, .seed = 2});
  for (const NeedleOutcome& outcome : find(gpt, trials, 200, 0)) {
    EXPECT_EQ(outcome.generated, "8888888888");
    EXPECT_FALSE(outcome.right);
  }
  head[NeedleText::kDocumentEnd].fill_(1.0);
  gpt.parameters().refresh_compute();
  for (const NeedleOutcome& outcome : find(gpt, trials, 200, 0)) {
    EXPECT_THAT(outcome.generated_tokens, testing::IsEmpty());
    EXPECT_EQ(outcome.generated, "");
    EXPECT_FALSE(outcome.right);
    EXPECT_TRUE(outcome.finite);
  }
}

TEST_F(Needles, WithoutFiniteLogitsHaveNoValue) {
  model::GPT gpt(needle_spec(Kind::kSoftmax, 199), {});
  model::randomize(gpt.parameters(), 5);
  gpt.parameters().master("lm_head.weight")[7].fill_(std::nan(""));
  gpt.parameters().refresh_compute();
  const NeedlePrompts trials = prompts({.lengths = {200}, .depths = {0}, .trials = 2, .seed = 2});
  const std::vector<NeedleOutcome> outcomes = find(gpt, trials, 200, 0);
  for (const NeedleOutcome& outcome : outcomes) EXPECT_FALSE(outcome.finite);
  for (const report::NeedleTop& trial : attention_on_needles(outcomes, /*num_heads=*/3).trials)
    EXPECT_FALSE(trial.outcome.has_value());
  const NeedleValues values = values_of_outcomes(outcomes);
  EXPECT_TRUE(std::isnan(values.share_right.mean));
  EXPECT_TRUE(std::isnan(values.margin.mean));
  EXPECT_EQ(values.first_digit_right, 0);
}

TEST_F(Needles, LongerThanTheModelAreNoTrials) {
  const model::GPT gpt(needle_spec(Kind::kSoftmax, 198), {});
  const NeedlePrompts trials = prompts({.lengths = {200}, .depths = {0}, .trials = 1, .seed = 2});
  EXPECT_THROW(find(gpt, trials, 200, 0), core::InternalError);
}

TEST(AttentionOnNeedles, RanksHeadsAndMarksTrials) {
  std::vector<NeedleOutcome> outcomes(3);
  for (NeedleOutcome& outcome : outcomes) outcome.finite = true;
  outcomes[0].right = true;
  outcomes[0].leading_digits = 7;
  outcomes[0].attention = {0.1F, 0.2F, 0.9F, 0.0F};
  outcomes[1].leading_digits = 1;
  outcomes[1].attention = {0.4F, 0.6F, 0.3F, 0.0F};
  outcomes[2].attention = {0.25F, 0.1F, 0.0F, 0.5F};
  const report::NeedleAttention found = attention_on_needles(outcomes, /*num_heads=*/2);
  ASSERT_EQ(found.heads.size(), 4u);
  const int64_t layers[] = {1, 0, 0, 1};
  const int64_t heads[] = {0, 1, 0, 1};
  const double means[] = {0.4, 0.3, 0.25, 0.5 / 3.0};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(found.heads[i].layer, layers[i]);
    EXPECT_EQ(found.heads[i].head, heads[i]);
    EXPECT_NEAR(found.heads[i].mean, means[i], 1e-7);
  }
  ASSERT_EQ(found.trials.size(), 3u);
  EXPECT_EQ(found.trials[0].outcome, report::TrialOutcome::kRight);
  EXPECT_EQ(found.trials[1].outcome, report::TrialOutcome::kFirstDigit);
  EXPECT_EQ(found.trials[2].outcome, report::TrialOutcome::kWrong);
  EXPECT_EQ(found.trials[1].layer, 0);
  EXPECT_EQ(found.trials[1].head, 1);
  EXPECT_NEAR(found.trials[2].weight, 0.5, 1e-7);
  for (NeedleOutcome& outcome : outcomes) outcome.attention.assign(144, 0.5F);
  EXPECT_EQ(attention_on_needles(outcomes, 12).heads.size(), 25u);
}

TEST(NeedleValuesOfOutcomes, AreSharesAndMeans) {
  std::vector<NeedleOutcome> outcomes(4);
  const double right[] = {-1.0, -2.0, -3.0, -4.0};
  for (size_t i = 0; i < 4; ++i) {
    outcomes[i].finite = true;
    outcomes[i].right = i == 0;
    outcomes[i].leading_digits = i == 0 ? 7 : static_cast<int64_t>(i) - 1;
    outcomes[i].log_probability = right[i];
    outcomes[i].wrong = {-5.0, -2.5};
  }
  const NeedleValues values = values_of_outcomes(outcomes);
  EXPECT_EQ(values.share_right.mean, 0.25);
  EXPECT_THAT(values.share_right.trials, testing::ElementsAre(1.0, 0.0, 0.0, 0.0));
  EXPECT_EQ(values.share_right.tokens, 4);
  EXPECT_THAT(values.margin.trials, testing::ElementsAre(1.5, 0.5, -0.5, -1.5));
  EXPECT_EQ(values.margin.mean, 0.0);
  EXPECT_NEAR(values.margin.standard_error, std::sqrt(5.0 / 3.0 / 4.0), 1e-12);
  EXPECT_EQ(values.first_digit_right, 3);
}

}  // namespace
}  // namespace ssgpt::evaluation
