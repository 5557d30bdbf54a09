// Cross-entropy, the squared norm and AdamW against plain fp64 formulas.

#include "core/check.h"
#include "kernels/ops.h"
#include "kernels/support.h"

#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isnan.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::kernels {
namespace {

class CrossEntropy : public OpTest {};

TEST_P(CrossEntropy, LossAndGradientMatchAutograd) {
  for (const int64_t vocab : {1, 2, 15, 16, 33, 1000}) {
    for (const int64_t padding : {0, 3}) {
      SCOPED_TRACE(testing::Message() << vocab << " + " << padding);
      const int64_t rows = 5;
      const at::Tensor logits = data({rows, vocab + padding}, 5.0);
      const at::Tensor targets = at::remainder(at::arange(rows, at::kLong).mul(7), vocab);
      targets[2].fill_(-100);
      const at::Tensor logits64 = leaf(logits);
      const at::Tensor log_p = at::log_softmax(logits64.narrow(1, 0, vocab), 1);
      const at::Tensor predicted = (targets >= 0).to(at::kDouble);
      const at::Tensor expected = -log_p.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1) * predicted;
      expected.sum().backward();

      const at::Tensor losses = at::empty({rows}, at::kFloat);
      const at::Tensor untouched = logits.clone();
      cross_entropy_forward(logits, targets, vocab, losses);
      EXPECT_TRUE(logits.equal(untouched));
      // logsumexp and the target's logit are both near 10 and known to 6e-8 of that.
      EXPECT_LT((fp64(losses) - expected).abs().max().item<double>(), 5e-6);
      const at::Tensor again = at::empty({rows}, at::kFloat);
      cross_entropy_forward_backward(logits, targets, vocab, again);
      EXPECT_TRUE(again.equal(losses));
      // exp(x - logsumexp) turns the absolute error of its argument, about 2e-6, into a relative one.
      EXPECT_TRUE(is_close(logits, logits64.grad(), unit() + 5e-6, 5e-6));
      EXPECT_TRUE(logits[2].equal(at::zeros_like(logits[2])));
    }
  }
}

TEST_P(CrossEntropy, LargeLogitsDoNotOverflow) {
  const at::Tensor logits = at::full({1, 20}, -30000.0f, at::kFloat).to(dtype());
  logits[0][3].fill_(30000.0f);
  const at::Tensor losses = at::empty({1}, at::kFloat);
  cross_entropy_forward_backward(logits, at::full({1}, 3, at::kLong), 20, losses);
  EXPECT_EQ(losses.item<float>(), 0.0f);
  EXPECT_TRUE(logits.equal(at::zeros_like(logits)));
}

TEST_P(CrossEntropy, NonFiniteLogitsGiveANonFiniteLoss) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    for (const int64_t column : {0, 17, 36}) {
      const at::Tensor logits = data({2, 37});
      logits[0][column].fill_(bad);
      const at::Tensor losses = at::empty({2}, at::kFloat);
      cross_entropy_forward_backward(logits, at::full({2}, 5, at::kLong), 37, losses);
      EXPECT_TRUE(std::isnan(losses[0].item<float>())) << bad << " in column " << column;
      EXPECT_TRUE(std::isfinite(losses[1].item<float>()));
      EXPECT_TRUE(at::isnan(logits[0]).any().item<bool>());
    }
  }
}

TEST_P(CrossEntropy, TargetBeyondTheVocabularyIsADefect) {
  EXPECT_THROW(
      cross_entropy_forward(data({1, 8}), at::full({1}, 5, at::kLong), 5, at::empty({1}, at::kFloat)),
      core::InternalError);
}

INSTANTIATE_TEST_SUITE_P(Variants, CrossEntropy, testing::ValuesIn(all_variants()), variant_name);

class Flat : public OpTest {};

TEST_P(Flat, SquaredNormMatchesWhateverTheNumberOfThreads) {
  for (const int64_t size : {0, 1, 31, 65536, 200003}) {
    const at::Tensor flat = fp32({size});
    const double expected = (fp64(flat) * fp64(flat)).sum().item<double>();
    const double actual = squared_norm(flat).item<double>();
    EXPECT_NEAR(actual, expected, 1e-12 * expected);  // both in fp64: 1e-16 a term, at random
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    EXPECT_EQ(squared_norm(flat).item<double>(), actual);
    at::set_num_threads(threads);
  }
}

TEST_P(Flat, SumMatchesWhateverTheNumberOfThreads) {
  for (const int64_t size : {1, 17, 65536, 200003}) {
    const at::Tensor flat = fp32({size});
    const double actual = flat_sum(flat).item<double>();
    // Doubles: 200,003 additions round to 1e-16 of sums below 1,000 each.
    EXPECT_NEAR(actual, fp64(flat).sum().item<double>(), 1e-10);
    const int threads = at::get_num_threads();
    at::set_num_threads(3);
    EXPECT_EQ(flat_sum(flat).item<double>(), actual);
    at::set_num_threads(threads);
  }
}

TEST_P(Flat, SquaredNormShowsNonFiniteValues) {
  const at::Tensor flat = fp32({70000});
  flat[69999].fill_(std::nanf(""));
  EXPECT_TRUE(std::isnan(squared_norm(flat).item<double>()));
}

struct Moments {
  at::Tensor w, m, v;
};

// torch.optim.AdamW's formula in fp64.
Moments adamw_reference(Moments state, const at::Tensor& g, double lr, double decay, int64_t step) {
  const double beta1 = 0.9;
  const double beta2 = 0.95;
  state.m = beta1 * state.m + (1 - beta1) * g;
  state.v = beta2 * state.v + (1 - beta2) * g * g;
  const at::Tensor m_hat = state.m / (1 - std::pow(beta1, step));
  const at::Tensor v_hat = state.v / (1 - std::pow(beta2, step));
  state.w = state.w * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + 1e-8);
  return state;
}

constexpr AdamWOptions kOptions = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};

// The slice that is a whole tensor.
std::vector<AdamWSlice> slice_of(int64_t size) {
  return {{.begin = 0, .moment = 0, .size = size, .lr = 1e-2, .weight_decay = 0.1}};
}

TEST_P(Flat, AdamwFollowsTheFormulaOnSlicesOfATensor) {
  const int64_t size = 40013;
  const int64_t begin = 5;
  const int64_t end = 40000;
  const at::Tensor w = fp32({size});
  const at::Tensor m = at::zeros({size}, at::kFloat);
  const at::Tensor v = at::zeros({size}, at::kFloat);
  const at::Tensor bf16_copy = at::full({size}, 7.0, at::kBFloat16);
  const at::Tensor start = w.clone();
  const auto slice = [&](const at::Tensor& x) {
    return x.narrow(0, begin, end - begin);
  };
  // Two that touch, beside elements of no slice. The moments are those of the slices alone.
  constexpr int64_t kMiddle = 8200;
  std::vector<AdamWSlice> slices = slice_of(kMiddle - begin);
  slices.front().begin = begin;
  slices.push_back(slices.front());
  slices.back().begin = kMiddle;
  slices.back().moment = kMiddle - begin;
  slices.back().size = end - kMiddle;
  Moments expected = {fp64(w), fp64(m), fp64(v)};
  for (int64_t step = 1; step <= 5; ++step) {
    const at::Tensor grad = fp32({size}, 100.0);
    const at::Tensor factor = at::full({}, 0.01f, at::kFloat);
    adamw_update(w, grad, slice(m), slice(v), bf16_copy, slices, kOptions, step, factor);
    expected = adamw_reference(expected, fp64(grad) * 0.01f, 1e-2, 0.1, step);
  }
  // fp32 state over five steps; m cancels, so its error is relative to the largest.
  EXPECT_TRUE(is_close(slice(w), slice(expected.w), 1e-6, 1e-6));
  EXPECT_TRUE(is_close(slice(m), slice(expected.m), 1e-6, 1e-6));
  EXPECT_TRUE(is_close(slice(v), slice(expected.v), 2e-6, 0));
  EXPECT_TRUE(slice(bf16_copy).equal(slice(w).to(at::kBFloat16)));
  for (const auto& [from, count] : {std::pair{int64_t{0}, begin}, std::pair{end, size - end}}) {
    EXPECT_TRUE(w.narrow(0, from, count).equal(start.narrow(0, from, count)));
    EXPECT_TRUE(m.narrow(0, from, count).equal(at::zeros({count}, at::kFloat)));
    EXPECT_TRUE(bf16_copy.narrow(0, from, count).equal(at::full({count}, 7.0, at::kBFloat16)));
  }
}

TEST_P(Flat, AdamwNeedsNoBf16Copy) {
  const at::Tensor w = fp32({1000});
  const at::Tensor other_w = w.clone();
  const at::Tensor grad = fp32({1000});
  const at::Tensor factor = at::full({1}, 1.0f, at::kFloat);
  const auto zeros = [] {
    return at::zeros({1000}, at::kFloat);
  };
  adamw_update(w, grad, zeros(), zeros(), /*bf16_copy=*/{}, slice_of(1000), kOptions, 1, factor);
  adamw_update(other_w, grad, zeros(), zeros(), at::zeros({1000}, at::kBFloat16), slice_of(1000), kOptions, 1,
               factor);
  EXPECT_TRUE(w.equal(other_w));
}

TEST_P(Flat, AdamwChangesNothingWhereTheFactorIsNotFinite) {
  const at::Tensor w = fp32({100});
  const at::Tensor m = fp32({100});
  const at::Tensor v = fp32({100}).abs();
  const at::Tensor bf16_copy = fp32({100}).to(at::kBFloat16);
  const at::Tensor bf16_copy_before = bf16_copy.clone();
  const Moments before = {w.clone(), m.clone(), v.clone()};
  for (const float factor : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    adamw_update(w, fp32({100}), m, v, bf16_copy, slice_of(100), kOptions, 3,
                 at::full({}, factor, at::kFloat));
  }
  EXPECT_TRUE(w.equal(before.w) && m.equal(before.m) && v.equal(before.v) &&
              bf16_copy.equal(bf16_copy_before));
}

std::vector<Variant> fp32_variants() {
  std::vector<Variant> variants;
  for (const cpu::Table* table : cpu::available_tables()) variants.push_back({table, at::kFloat});
  return variants;
}

TEST_P(Flat, AdamwRefusesSlicesBeyondItsTensors) {
  const at::Tensor w = fp32({100});
  const at::Tensor moments = at::zeros({90}, at::kFloat);
  for (const auto& [begin, moment, size] :
       {std::tuple{-1, 0, 3}, {0, -1, 3}, {0, 0, -1}, {98, 0, 3}, {0, 88, 3}}) {
    std::vector<AdamWSlice> slices = slice_of(size);
    slices.front().begin = begin;
    slices.front().moment = moment;
    EXPECT_THROW(
        adamw_update(w, w, moments, moments, {}, slices, kOptions, 1, at::full({}, 1.0f, at::kFloat)),
        core::InternalError);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Flat, testing::ValuesIn(fp32_variants()), variant_name);

}  // namespace
}  // namespace ssgpt::kernels
