// Clipping against its formula in float64.
#include "optim/clip.h"

#include "core/check.h"
#include "core/random.h"
#include "kernels/ops.h"

#include <cmath>
#include <limits>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace ssgpt::optim {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

at::Tensor loss_of(double value) {
  return at::full({1}, value, at::kDouble);
}

at::Tensor random_grad(int64_t size) {
  at::Tensor grad = at::zeros({size}, at::kFloat);
  for (int64_t i = 0; i < size; ++i) {
    grad.mutable_data_ptr<float>()[i] = static_cast<float>(core::random_normal(7, static_cast<uint64_t>(i)));
  }
  return grad;
}

double plain_norm(const at::Tensor& grad, int64_t num_tokens) {
  double sum = 0.0;
  for (int64_t i = 0; i < grad.numel(); ++i) {
    const double value = grad.const_data_ptr<float>()[i];
    sum += value * value;
  }
  return std::sqrt(sum) / static_cast<double>(num_tokens);
}

class ClipOfSize : public testing::TestWithParam<int64_t> {};

// fp64 sums in another order: 1e-12 relative. The factor is rounded to fp32 once: 2^-24 relative.
TEST_P(ClipOfSize, FollowsTheFloat64Formula) {
  const at::Tensor grad = random_grad(GetParam());
  const int64_t num_tokens = 37;
  const double norm = plain_norm(grad, num_tokens);
  for (const double max_norm : {norm * 0.25, norm * 4.0}) {
    const ClippedGradient clipped =
        clip_by_global_norm(kernels::squared_norm(grad), loss_of(1.0), num_tokens, max_norm);
    const double factor = std::min(1.0, max_norm / (norm + 1e-6)) / static_cast<double>(num_tokens);
    EXPECT_EQ(clipped.norm.scalar_type(), at::kDouble);
    EXPECT_EQ(clipped.factor.scalar_type(), at::kFloat);
    EXPECT_NEAR(clipped.norm.item<double>(), norm, 1e-12 * norm);
    EXPECT_NEAR(clipped.factor.item<double>(), factor, factor * 6e-8);
  }
}
INSTANTIATE_TEST_SUITE_P(Sizes, ClipOfSize, testing::Values(1, 15, 1000, 65537, 300007));

TEST(Clip, MaxNormZeroOnlyDividesByTheTokens) {
  const at::Tensor grad = at::full({100}, 1e3, at::kFloat);
  const ClippedGradient clipped = clip_by_global_norm(kernels::squared_norm(grad), loss_of(1.0), 8, 0.0);
  EXPECT_EQ(clipped.factor.item<float>(), 0.125F);
  EXPECT_DOUBLE_EQ(clipped.norm.item<double>(), 1e4 / 8.0);
}

TEST(Clip, AZeroGradientGivesAFiniteFactor) {
  const ClippedGradient clipped =
      clip_by_global_norm(kernels::squared_norm(at::zeros({64}, at::kFloat)), loss_of(1.0), 4, 1.0);
  EXPECT_EQ(clipped.norm.item<double>(), 0.0);
  EXPECT_EQ(clipped.factor.item<float>(), 0.25F);
}

TEST(Clip, TheFactorIsNanWhereTheGradientOrTheLossIsNotFinite) {
  for (const double max_norm : {0.0, 1.0}) {
    for (const double bad : {kNan, kInfinity, -kInfinity}) {
      at::Tensor grad = random_grad(1000);
      EXPECT_TRUE(std::isnan(
          clip_by_global_norm(kernels::squared_norm(grad), loss_of(bad), 4, max_norm).factor.item<float>()))
          << bad;
      EXPECT_FALSE(std::isnan(
          clip_by_global_norm(kernels::squared_norm(grad), loss_of(2.0), 4, max_norm).factor.item<float>()));
      grad.mutable_data_ptr<float>()[777] = static_cast<float>(bad);
      const ClippedGradient clipped =
          clip_by_global_norm(kernels::squared_norm(grad), loss_of(2.0), 4, max_norm);
      EXPECT_TRUE(std::isnan(clipped.factor.item<float>())) << bad;
      EXPECT_FALSE(std::isfinite(clipped.norm.item<double>())) << bad;
    }
  }
}

// The sum of squares exceeds fp32 but not fp64: not a broken step.
TEST(Clip, LargeGradientsDoNotOverflow) {
  const ClippedGradient clipped =
      clip_by_global_norm(kernels::squared_norm(at::full({4}, 1e30, at::kFloat)), loss_of(1.0), 1, 1.0);
  EXPECT_NEAR(clipped.norm.item<double>(), 2e30, 1e24);
  EXPECT_NEAR(clipped.factor.item<double>(), 5e-31, 1e-36);
}

TEST(Clip, AStepWithoutTokensIsADefect) {
  EXPECT_THROW(clip_by_global_norm(kernels::squared_norm(at::zeros({4}, at::kFloat)), loss_of(1.0), 0, 1.0),
               core::InternalError);
}

}  // namespace
}  // namespace ssgpt::optim
