// The kernels of flat tensors, on a CPU.
#include "kernels/cuda/flat.cuh"
#include "kernels/cuda_support.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {
namespace {

using emulation::OrderOfThreads;

using SumFunction = void(const float*, double*, double*, int64_t, Stream);

double sum_with(SumFunction* sum, const float* flat, int64_t size) {
  Array<double> partial(divide_up(size, kFlatChunk));
  Array<double> result(1);
  sum(flat, partial.data(), result.data(), size, nullptr);
  return *result.data();
}

// Around what a thread, a block and a chunk take.
constexpr int64_t kSizes[] = {0, 1, 3, 4, 5, 2047, 2052, kFlatChunk, kFlatChunk + 1, 3 * kFlatChunk + 3395};

TEST(CudaFlat, SumsAreThoseOfDoubles) {
  for (const int64_t size : kSizes) {
    SCOPED_TRACE(size);
    const Array<float> flat = random_array<float>(size, 1.0);
    long double sum = 0, sizes = 0, squares = 0;
    for (int64_t i = 0; i < size; ++i) {
      sum += flat.at(i);
      sizes += std::abs(flat.at(i));
      squares += flat.at(i) * flat.at(i);
    }
    // Squares of fp32 are exact in fp64. A thread and a block add 4 sums of up to 32 terms, 32 lanes, 16
    // warps and a few chunks: below 100 roundings of 2^-53 on the way of any term.
    EXPECT_NEAR(sum_with(flat_sum, flat.data(), size), static_cast<double>(sum),
                100 * 0x1p-53 * static_cast<double>(sizes));
    EXPECT_NEAR(sum_with(squared_norm, flat.data(), size), static_cast<double>(squares),
                100 * 0x1p-53 * static_cast<double>(squares));
  }
}

TEST(CudaFlat, SumsDependNeitherOnTheOrderOfThreadsNorOnWhereTheTensorBegins) {
  for (const int64_t size : {int64_t{2047}, 2 * kFlatChunk + 4097}) {
    const Array<float> flat = random_array<float>(size, 1.0);
    const double sum = sum_with(flat_sum, flat.data(), size);
    for (const OrderOfThreads order : {OrderOfThreads::kFalling, OrderOfThreads::kShuffled}) {
      emulation::order_of_threads = order;
      EXPECT_EQ(sum_with(flat_sum, flat.data(), size), sum);
    }
    emulation::order_of_threads = OrderOfThreads::kRising;
    for (int64_t shift = 1; shift < kSumGroup; ++shift) {
      Array<float> shifted(size + shift);
      std::memcpy(shifted.data() + shift, flat.data(), static_cast<size_t>(size) * sizeof(float));
      EXPECT_EQ(sum_with(flat_sum, shifted.data() + shift, size), sum);
    }
  }
}

// As many chunks as a tensor of hundreds of millions of elements has.
TEST(CudaFlat, AddsMoreChunksThanABlockHasThreads) {
  constexpr int64_t kChunks = 2473;
  Array<double> partial(kChunks);
  std::iota(partial.data(), partial.data() + kChunks, 1.0);
  Array<double> result(1);
  launch("sum_partial", sum_partial_kernel, dim3(1), dim3(kSumThreads), nullptr, partial.data(),
         result.data(), kChunks);
  EXPECT_EQ(*result.data(), kChunks * (kChunks + 1) / 2.0);  // exact in fp64
}

TEST(CudaFlat, SumsShowValuesThatAreNotFinite) {
  Array<float> flat = random_array<float>(kFlatChunk + 7, 1.0);
  flat.set(kFlatChunk + 6, std::numeric_limits<double>::infinity());
  EXPECT_EQ(sum_with(flat_sum, flat.data(), flat.size()), std::numeric_limits<double>::infinity());
  EXPECT_EQ(sum_with(squared_norm, flat.data(), flat.size()), std::numeric_limits<double>::infinity());
  flat.set(5, std::nan(""));
  EXPECT_TRUE(std::isnan(sum_with(flat_sum, flat.data(), flat.size())));
  EXPECT_TRUE(std::isnan(sum_with(squared_norm, flat.data(), flat.size())));
}

// What AdamW reads and writes, each array beginning `shift` elements behind a multiple of 16 bytes.
struct State {
  State(int64_t size, int64_t shift_of_master, int64_t shift_of_moments)
      : count(size),
        master_shift(shift_of_master),
        moment_shift(shift_of_moments),
        master(size + shift_of_master),
        grad(size + shift_of_master),
        exp_avg(size + shift_of_moments),
        exp_avg_sq(size + shift_of_moments),
        shadow(size + shift_of_master) {
    for (int64_t i = 0; i < size; ++i) {
      master.set(i + master_shift, 0.02 * std::sin(static_cast<double>(i)));
      grad.set(i + master_shift, 100.0 * std::cos(3.0 * static_cast<double>(i)));
      exp_avg.set(i + moment_shift, std::sin(7.0 * static_cast<double>(i)));
      exp_avg_sq.set(i + moment_shift, std::abs(std::sin(5.0 * static_cast<double>(i))));
    }
  }
  void update(const AdamWScalars& scalars, double grad_factor, bool with_shadow = true) {
    Array<float> factor(1);
    factor.set(0, grad_factor);
    adamw(master.data() + master_shift, grad.data() + master_shift, exp_avg.data() + moment_shift,
          exp_avg_sq.data() + moment_shift, with_shadow ? shadow.data() + master_shift : nullptr, count,
          scalars, factor.data(), nullptr);
  }
  // The same elements at the same values.
  bool operator==(const State& other) const {
    bool same = count == other.count;
    for (int64_t i = 0; same && i < count; ++i) {
      same = master.at(i + master_shift) == other.master.at(i + other.master_shift) &&
             exp_avg.at(i + moment_shift) == other.exp_avg.at(i + other.moment_shift) &&
             exp_avg_sq.at(i + moment_shift) == other.exp_avg_sq.at(i + other.moment_shift) &&
             shadow.data()[i + master_shift].bits == other.shadow.data()[i + other.master_shift].bits;
    }
    return same;
  }

  int64_t count, master_shift, moment_shift;
  Array<float> master, grad, exp_avg, exp_avg_sq;
  Array<Bfloat16> shadow;
};

constexpr AdamWScalars kScalars = {.one_minus_beta1 = 0.1f,
                                   .beta2 = 0.95f,
                                   .one_minus_beta2 = 0.05f,
                                   .keep = 0.999f,
                                   .step_size = 0.02f,
                                   .inverse_sqrt_bias2 = 3.2f,
                                   .eps = 0.03f};

void expect_updated(const State& after, const State& before, double factor) {
  const AdamWScalars& s = kScalars;
  for (int64_t i = 0; i < after.count; ++i) {
    const int64_t at = i + after.master_shift;
    const int64_t moment = i + after.moment_shift;
    const double w = before.master.at(at);
    const double g = before.grad.at(at) * factor;
    const double m = before.exp_avg.at(moment);
    const double expected_m = m + static_cast<double>(s.one_minus_beta1) * (g - m);
    const double expected_v = static_cast<double>(s.beta2) * before.exp_avg_sq.at(moment) +
                              static_cast<double>(s.one_minus_beta2) * g * g;
    const double denominator =
        std::sqrt(expected_v) * static_cast<double>(s.inverse_sqrt_bias2) + static_cast<double>(s.eps);
    const double per_m = static_cast<double>(s.step_size) / denominator;
    const double expected_w = w * static_cast<double>(s.keep) - per_m * expected_m;
    // m is a difference: g, the difference and the sum round. v adds what is positive: g twice, two products,
    // the sum. w takes over what m and half of what v is off by, and rounds five times itself.
    const double terms_of_m = std::abs(m) + std::abs(g);
    ASSERT_TRUE(near<float>(after.exp_avg.at(moment), expected_m, 3, terms_of_m)) << i;
    ASSERT_TRUE(near<float>(after.exp_avg_sq.at(moment), expected_v, 5)) << i;
    ASSERT_TRUE(near<float>(after.master.at(at), expected_w, 11, std::abs(w) + per_m * terms_of_m)) << i;
  }
}

TEST(CudaFlat, AdamWFollowsTheFormulaWhereverItsTensorsBegin) {
  const double factor = static_cast<double>(0.01f);
  for (const int64_t size : {1, 3, 4, 1023, 1024, 4099}) {
    State aligned(size, 0, 0);
    for (const auto& [of_master, of_moments] : {std::pair{0, 0}, {0, 1}, {2, 0}, {3, 3}}) {
      SCOPED_TRACE(testing::Message() << size << " from " << of_master << " and " << of_moments);
      const State before(size, of_master, of_moments);
      State state = before;
      state.update(kScalars, factor);
      expect_updated(state, before, factor);
      for (int64_t i = 0; i < size; ++i) {
        const auto master = static_cast<float>(state.master.at(i + of_master));
        EXPECT_EQ(state.shadow.at(i + of_master), static_cast<double>(rounded<Bfloat16>(master)));
      }
      if (of_master == 0 && of_moments == 0) aligned = state;
      EXPECT_TRUE(state == aligned) << "other bits";
    }
  }
}

TEST(CudaFlat, AdamWWithoutAShadowDoesTheSameToTheMaster) {
  State with(1030, 0, 0);
  State without = with;
  with.update(kScalars, 0.01);
  without.update(kScalars, 0.01, /*with_shadow=*/false);
  EXPECT_TRUE(with.master == without.master && with.exp_avg == without.exp_avg &&
              with.exp_avg_sq == without.exp_avg_sq);
  EXPECT_TRUE(without.shadow == State(1030, 0, 0).shadow) << "written without one";
}

TEST(CudaFlat, AdamWChangesNothingWhereTheFactorIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double factor : {std::nan(""), infinity, -infinity}) {
    for (const int64_t shift : {0, 1}) {
      const State before(1030, 0, shift);
      State after = before;
      after.update(kScalars, factor);
      EXPECT_TRUE(after.master == before.master && after.exp_avg == before.exp_avg &&
                  after.exp_avg_sq == before.exp_avg_sq && after.shadow == before.shadow);
    }
  }
}

TEST(CudaFlat, AdamWTakesAGradientThatIsNotANumberToItsOwnElementAlone) {
  State state(64, 0, 0);
  State finite = state;
  state.grad.set(9, std::nan(""));
  state.update(kScalars, 0.01);
  finite.update(kScalars, 0.01);
  for (int64_t i = 0; i < state.count; ++i) {
    if (i == 9) {
      EXPECT_TRUE(std::isnan(state.master.at(i)) && std::isnan(state.exp_avg.at(i)) &&
                  std::isnan(state.exp_avg_sq.at(i)) && std::isnan(state.shadow.at(i)));
    } else {
      EXPECT_EQ(state.master.at(i), finite.master.at(i)) << i;
    }
  }
}

TEST(CudaFlat, AdamWOfNothingLaunchesNothing) {
  State state(0, 0, 0);
  state.update(kScalars, 1.0);
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
