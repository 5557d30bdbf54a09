// Which targets the model would have chosen, against its logits taken one by one.

#include "model/gpt.h"
#include "model/head.h"
#include "model/support.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

// The definition, one logit after the other: rows of fp32 logits (..., V) and their targets.
bool is_right(const float* row, int64_t vocab_size, int64_t target) {
  if (target < 0) return false;
  for (int64_t v = 0; v < vocab_size; ++v) {
    if (v != target && !(row[target] > row[v])) return false;
  }
  return true;
}

class TokenScoresOf : public testing::TestWithParam<at::ScalarType> {};

TEST_P(TokenScoresOf, TheModelAreThoseOfItsLogits) {
  GPT gpt(small_spec(Kind::kSsmax, /*document_token_id=*/3), {.device = at::kCPU, .dtype = GetParam()});
  randomize(gpt.parameters(), 5);
  // So few tokens that many targets are right by chance; the ids above are never predicted.
  const Batch batch = random_batch(40, 11, 7, 1, /*with_negative_targets=*/true);
  const at::Tensor logits = gpt.logits(batch.tokens).contiguous();
  // Every other target is the model's own choice.
  const at::Tensor choices = logits.argmax(2);
  int64_t* targets = batch.targets.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < batch.targets.numel(); i += 2) {
    if (targets[i] >= 0) targets[i] = choices.const_data_ptr<int64_t>()[i];
  }
  const TokenScores scores = gpt.token_scores(batch.tokens, batch.targets);
  EXPECT_TRUE(scores.losses.equal(gpt.token_losses(batch.tokens, batch.targets)));
  ASSERT_EQ(scores.correct.scalar_type(), at::kBool);
  ASSERT_EQ(scores.correct.sizes(), batch.targets.sizes());
  int64_t right = 0;
  for (int64_t i = 0; i < batch.targets.numel(); ++i) {
    const bool expected = is_right(logits.const_data_ptr<float>() + i * 37, 37, targets[i]);
    EXPECT_EQ(scores.correct.const_data_ptr<bool>()[i], expected) << i;
    right += expected;
  }
  EXPECT_GT(right, 100);
  EXPECT_LT(right, 300);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, TokenScoresOf, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& variant) { return variant.param == at::kFloat ? "fp32" : "bf16"; });

TEST(TokenScores, OfEqualLogitsAreWrongEverywhere) {
  GPT gpt(small_spec(Kind::kSsmaxBias), {});  // all weights are zero
  const Batch batch = random_batch(3, 11, 37, 2, /*with_negative_targets=*/true);
  const TokenScores scores = gpt.token_scores(batch.tokens, batch.targets);
  EXPECT_FALSE(scores.correct.any().item<bool>());
  const at::Tensor predicted = (batch.targets >= 0).to(at::kDouble);
  // log 37 in fp32, one rounding of the sum and one of the logarithm.
  EXPECT_LT((scores.losses - predicted * std::log(37.0)).abs().max().item<double>(), 1e-6);
}

// x is one-hot and picks a row of logits out of the weight, which has one row per token: (V, rows).
TEST(HeadScores, KnowTiesNaNAndPadding) {
  constexpr int64_t kRows = 7;
  constexpr int64_t kVocabulary = 3;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const float rows[kRows][kVocabulary] = {{2, 1, 0},    {2, 2, 0},       {1, 2, nan}, {nan, 1, 2},
                                          {-1, -2, -3}, {-inf, -inf, 0}, {5, 6, 7}};
  const int64_t targets[kRows] = {0, 0, 1, 0, 0, 2, -1};
  const bool expected[kRows] = {true, false, false, false, true, true, false};
  // Four rows more than the vocabulary has, whose logits would win.
  const at::Tensor weight = at::full({kVocabulary + 4, kRows}, 9.0, at::kFloat);
  for (int64_t v = 0; v < kVocabulary; ++v) {
    for (int64_t row = 0; row < kRows; ++row) {
      weight.mutable_data_ptr<float>()[v * kRows + row] = rows[row][v];
    }
  }
  for (const int64_t chunk_rows : {1, 3, 7}) {
    for (int64_t row = 0; row < kRows; ++row) {
      // One row at a time, in every place of a batch: a product with the NaN of another column would be NaN.
      const at::Tensor only = weight.narrow(1, row, 1).contiguous();
      const at::Tensor x = at::full({kRows, 1}, 1.0, at::kFloat);
      const at::Tensor target = at::full({kRows}, targets[row], at::kLong);
      const at::Tensor losses = at::empty({kRows}, at::kFloat);
      const at::Tensor correct = at::empty({kRows}, at::kBool);
      head_scores(x, target, only, kVocabulary, losses, correct,
                  at::empty({chunk_rows, kVocabulary + 4}, at::kFloat));
      for (int64_t i = 0; i < kRows; ++i) {
        EXPECT_EQ(correct.const_data_ptr<bool>()[i], expected[row]) << row << " in chunks of " << chunk_rows;
      }
    }
  }
}

}  // namespace
}  // namespace ssgpt::model
