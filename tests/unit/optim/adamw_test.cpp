// AdamW against its formulas in float64, written out plainly.
#include "optim/adamw.h"

#include "core/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace ssgpt::optim {
namespace {

// Uniform around 0 with this deviation. A cheap generator: the tests draw millions.
at::Tensor random_tensor(int64_t size, uint32_t seed, double deviation) {
  std::minstd_rand generator(seed);
  std::uniform_real_distribution<float> distribution(-static_cast<float>(deviation * std::sqrt(3.0)),
                                                     static_cast<float>(deviation * std::sqrt(3.0)));
  at::Tensor tensor = at::zeros({size}, at::kFloat);
  std::generate_n(tensor.mutable_data_ptr<float>(), size, [&] { return distribution(generator); });
  return tensor;
}

std::vector<float> values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel()};
}

at::Tensor factor_of(double value) {
  return at::full({1}, value, at::kFloat);
}

struct PlainAdamW {
  std::vector<double> w, m, v;

  // multiplier: of lr, for each element.
  void step(int64_t t, const std::vector<float>& grad, double factor, double schedule_lr,
            const std::vector<double>& multiplier, const std::vector<double>& decay, const AdamWOptions& o) {
    for (size_t i = 0; i < w.size(); ++i) {
      const double lr = schedule_lr * multiplier[i];
      const double g = static_cast<double>(grad[i]) * factor;
      m[i] = o.beta1 * m[i] + (1.0 - o.beta1) * g;
      v[i] = o.beta2 * v[i] + (1.0 - o.beta2) * g * g;
      const double m_hat = m[i] / (1.0 - std::pow(o.beta1, t));
      const double v_hat = v[i] / (1.0 - std::pow(o.beta2, t));
      w[i] = w[i] * (1.0 - lr * decay[i]) - lr * m_hat / (std::sqrt(v_hat) + o.eps);
    }
  }
};

class AdamWOfSize : public testing::TestWithParam<int64_t> {};

// Sizes around the vector width and the kernel's chunks. Tolerance: fp32 state rounds at each of the 60
// steps; an update is at most about lr, so that the weights stay within a few times 60 * 2^-24 of the float64
// run.
TEST_P(AdamWOfSize, FollowsTheFloat64FormulasOverManySteps) {
  const int64_t size = GetParam();
  const AdamWOptions options{.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
  const at::Tensor master = random_tensor(size, 1, 1.0);
  const at::Tensor grad = at::zeros({size}, at::kFloat);
  const int64_t middle = size / 3;
  const int64_t later = 2 * size / 3;
  const std::vector<UpdateSlice> slices = {
      {.begin = 0, .end = middle, .weight_decay = 0.1},
      {.begin = middle, .end = later, .weight_decay = 0.0},
      {.begin = later, .end = size, .weight_decay = 0.1, .lr_multiplier = 0.3}};
  AdamW optimizer(master, grad, slices, {{0, size}}, options);

  PlainAdamW plain;
  const std::vector<float> start = values(master);
  plain.w.assign(start.begin(), start.end());
  plain.m.assign(start.size(), 0.0);
  plain.v.assign(start.size(), 0.0);
  std::vector<double> decay(start.size(), 0.0);
  std::fill_n(decay.begin(), middle, 0.1);
  std::fill(decay.begin() + later, decay.end(), 0.1);
  std::vector<double> multiplier(start.size(), 1.0);
  std::fill(multiplier.begin() + later, multiplier.end(), 0.3);
  for (int64_t step = 1; step <= 60; ++step) {
    const double factor = 1.0 / static_cast<double>(64 + step % 7);
    const double lr = 1e-2 / static_cast<double>(step);
    grad.copy_(random_tensor(size, 100 + static_cast<uint32_t>(step), 3.0));
    plain.step(step, values(grad), static_cast<float>(factor), lr, multiplier, decay, options);
    optimizer.step(step, lr, factor_of(factor));
  }
  const std::vector<float> w = values(master);
  const std::vector<float> m = values(optimizer.exp_avg());
  const std::vector<float> v = values(optimizer.exp_avg_sq());
  double moved = 0.0;
  for (size_t i = 0; i < w.size(); ++i) {
    ASSERT_NEAR(w[i], plain.w[i], 2e-5) << "weight " << i;
    ASSERT_NEAR(m[i], plain.m[i], 1e-7) << "first moment " << i;
    ASSERT_NEAR(v[i], plain.v[i], 1e-8 + 1e-5 * plain.v[i]) << "second moment " << i;
    moved += std::abs(w[i] - start[i]);
  }
  EXPECT_GT(moved / static_cast<double>(w.size()), 1e-3) << "the weights hardly moved";
}
INSTANTIATE_TEST_SUITE_P(Sizes, AdamWOfSize, testing::Values(3, 17, 1023, 4099, 70001));

// The same bits as with the product given as the rate. 0 leaves the weights unchanged, not the moments.
TEST(AdamW, AMultiplierIsPartOfTheRate) {
  constexpr int64_t kSize = 1000;
  const at::Tensor grad = random_tensor(kSize, 2, 1.0);
  const auto weights_after = [&](double lr, double multiplier) {
    const at::Tensor master = random_tensor(kSize, 1, 1.0);
    const std::vector<UpdateSlice> slices = {
        {.begin = 0, .end = kSize, .weight_decay = 0.1, .lr_multiplier = multiplier}};
    AdamW optimizer(master, grad, slices, {{0, kSize}}, {});
    for (int64_t step = 1; step <= 3; ++step) optimizer.step(step, lr, factor_of(0.5));
    EXPECT_GT(optimizer.exp_avg().abs().min().item<float>(), 0.0f);
    return values(master);
  };
  EXPECT_EQ(weights_after(0.01, 8.0), weights_after(0.08, 1.0));
  EXPECT_EQ(weights_after(0.01, 1.0), weights_after(0.08, 0.125));
  EXPECT_EQ(weights_after(0.01, 0.0), values(random_tensor(kSize, 1, 1.0)));
}

TEST(AdamW, LeavesElementsOutsideOfEverySliceAlone) {
  const at::Tensor master = random_tensor(64, 1, 1.0);
  const std::vector<float> before = values(master);
  AdamW optimizer(master, random_tensor(64, 2, 1.0), {{5, 20, 0.1}, {40, 41, 0.0}}, {{0, 64}}, {});
  optimizer.step(1, 0.1, factor_of(1.0));
  const std::vector<float> after = values(master);
  for (size_t i = 0; i < before.size(); ++i) {
    const bool inside = (i >= 5 && i < 20) || i == 40;
    EXPECT_EQ(before[i] != after[i], inside) << i;
  }
}

TEST(AdamW, AFactorThatIsNotFiniteChangesNoBit) {
  const at::Tensor master = random_tensor(1001, 1, 1.0);
  AdamW optimizer(master, random_tensor(1001, 2, 1.0), {{0, 1001, 0.1}}, {{0, 1001}}, {});
  optimizer.step(1, 0.1, factor_of(1.0));
  const auto state = [&] {
    return std::vector{values(master), values(optimizer.exp_avg()), values(optimizer.exp_avg_sq())};
  };
  const auto before = state();
  for (const double factor :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    optimizer.step(2, 0.1, factor_of(factor));
    EXPECT_EQ(state(), before);
  }
  optimizer.step(2, 0.1, factor_of(1.0));
  EXPECT_NE(state(), before);
}

// Shares of three owners that cut through the slices and the vector width: together they do what one owner of
// all does. The same bits, since every element has its own arithmetic.
TEST(AdamW, SharesUpdateTheirOwnElementsAsAWholeWould) {
  constexpr int64_t kSize = 1000;
  const std::vector<UpdateSlice> slices = {{0, 100, 0.1}, {100, 130, 0.0}, {140, 990, 0.1}};
  const std::vector<std::vector<core::Range>> shares = {
      {{0, 77}, {500, 613}}, {{77, 333}, {613, 614}}, {{333, 500}, {614, 1000}}};
  const at::Tensor whole_master = random_tensor(kSize, 1, 1.0);
  const at::Tensor whole_grad = at::zeros({kSize}, at::kFloat);
  AdamW whole(whole_master, whole_grad, slices, {{0, kSize}}, {});
  std::vector<at::Tensor> masters;
  std::vector<AdamW> owners;
  for (const auto& share : shares) {
    masters.push_back(random_tensor(kSize, 1, 1.0));
    owners.emplace_back(masters.back(), whole_grad, slices, share, AdamWOptions{});
  }
  for (int64_t step = 1; step <= 3; ++step) {
    whole_grad.copy_(random_tensor(kSize, 10 + static_cast<uint32_t>(step), 1.0));
    whole.step(step, 1e-2, factor_of(0.5));
    for (AdamW& owner : owners) owner.step(step, 1e-2, factor_of(0.5));
  }
  const std::vector<float> untouched = values(random_tensor(kSize, 1, 1.0));
  const auto at_index = [](const at::Tensor& tensor, int64_t i) {
    return tensor.const_data_ptr<float>()[i];
  };
  for (size_t owner = 0; owner < shares.size(); ++owner) {
    EXPECT_EQ(owners[owner].exp_avg().numel(), core::total_size(shares[owner]));
    int64_t moment = 0;
    for (const core::Range& range : shares[owner]) {
      for (int64_t i = range.begin; i < range.end; ++i, ++moment) {
        ASSERT_EQ(at_index(masters[owner], i), at_index(whole_master, i)) << "weight " << i;
        ASSERT_EQ(at_index(owners[owner].exp_avg(), moment), at_index(whole.exp_avg(), i)) << i;
        ASSERT_EQ(at_index(owners[owner].exp_avg_sq(), moment), at_index(whole.exp_avg_sq(), i)) << i;
      }
    }
    for (int64_t i = 0; i < kSize; ++i) {
      const bool owns =
          std::any_of(shares[owner].begin(), shares[owner].end(),
                      [i](const core::Range& range) { return i >= range.begin && i < range.end; });
      if (!owns) {
        ASSERT_EQ(at_index(masters[owner], i), untouched[static_cast<size_t>(i)]) << i;
      }
    }
  }
}

// Together with the update, and bit for bit what a cast of the master gives; elsewhere it stays as it is.
TEST(AdamW, RoundsWhatItUpdatesIntoTheBf16Copy) {
  constexpr int64_t kSize = 20'000;
  const std::vector<core::Range> owned = {{3, 9001}, {12'000, 19'999}};
  const std::vector<UpdateSlice> slices = {{0, 5000, 0.1}, {5010, 20'000, 0.0}};
  const at::Tensor master = random_tensor(kSize, 1, 1.0);
  const at::Tensor plain_master = master.clone();
  const at::Tensor grad = random_tensor(kSize, 2, 1.0);
  const at::Tensor bf16_copy = at::full({kSize}, 7.0, at::kBFloat16);
  AdamW optimizer(master, grad, slices, owned, {}, bf16_copy);
  AdamW plain(plain_master, grad, slices, owned, {});
  for (const double factor : {1.0, std::numeric_limits<double>::quiet_NaN()}) {
    optimizer.step(1, 0.1, factor_of(factor));
    plain.step(1, 0.1, factor_of(factor));
    EXPECT_EQ(values(master), values(plain_master));
    const std::vector<float> rounded = values(master.to(at::kBFloat16).to(at::kFloat));
    const std::vector<float> actual = values(bf16_copy.to(at::kFloat));
    for (int64_t i = 0; i < kSize; ++i) {
      const bool owns = (i >= 3 && i < 9001) || (i >= 12'000 && i < 19'999);
      const bool updated = owns && !(i >= 5000 && i < 5010);
      ASSERT_EQ(actual[static_cast<size_t>(i)], updated ? rounded[static_cast<size_t>(i)] : 7.0f) << i;
    }
  }
}

TEST(AdamW, RefusesABf16CopyOfAnotherSizeOrType) {
  const at::Tensor master = at::zeros({10}, at::kFloat);
  for (const at::Tensor& bf16_copy : {at::zeros({9}, at::kBFloat16), at::zeros({10}, at::kFloat)}) {
    EXPECT_THROW(AdamW(master, at::zeros({10}, at::kFloat), {{0, 10, 0.0}}, {{0, 10}}, {}, bf16_copy),
                 core::InternalError);
  }
}

TEST(AdamW, RefusesSlicesThatOverlapOrLeaveTheTensor) {
  const at::Tensor master = at::zeros({10}, at::kFloat);
  const at::Tensor grad = at::zeros({10}, at::kFloat);
  EXPECT_THROW(AdamW(master, grad, {{0, 5, 0.0}, {4, 10, 0.0}}, {{0, 10}}, {}), core::InternalError);
  EXPECT_THROW(AdamW(master, grad, {{0, 11, 0.0}}, {{0, 10}}, {}), core::InternalError);
  EXPECT_THROW(AdamW(master, grad, {{0, 10, 0.0}}, {{0, 6}, {5, 10}}, {}), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::optim
