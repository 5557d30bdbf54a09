// The kernels of flat tensors, on a CPU.
#include "kernels/cuda/flat.cuh"
#include "kernels/cuda_support.h"

#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

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

// As many chunks as for a tensor of hundreds of millions of elements.
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

constexpr AdamWRates kRates = {.keep = 0.999f, .step_size = 0.02f};

// What AdamW reads and writes: a slice of each array that begins `shift` elements after a multiple of 16
// bytes.
struct State {
  State(int64_t size, int64_t shift_of_master, int64_t shift_of_moments)
      : count(size),
        master_shift(shift_of_master),
        moment_shift(shift_of_moments),
        master(size + shift_of_master),
        grad(size + shift_of_master),
        exp_avg(size + shift_of_moments),
        exp_avg_sq(size + shift_of_moments),
        bf16_copy(size + shift_of_master) {
    for (int64_t i = 0; i < size; ++i) {
      master.set(i + master_shift, 0.02 * std::sin(static_cast<double>(i)));
      grad.set(i + master_shift, 100.0 * std::cos(3.0 * static_cast<double>(i)));
      exp_avg.set(i + moment_shift, std::sin(7.0 * static_cast<double>(i)));
      exp_avg_sq.set(i + moment_shift, std::abs(std::sin(5.0 * static_cast<double>(i))));
    }
  }
  void update(const AdamWScalars& scalars, double grad_factor, bool with_bf16_copy = true) {
    Array<float> factor(1);
    factor.set(0, grad_factor);
    const AdamWSliceView slice = {
        .begin = master_shift, .moment = moment_shift, .size = count, .rates = kRates};
    adamw({master.data(), grad.data(), exp_avg.data(), exp_avg_sq.data(),
           with_bf16_copy ? bf16_copy.data() : nullptr},
          &slice, 1, scalars, factor.data(), nullptr);
  }
  // The same elements at the same values.
  bool operator==(const State& other) const {
    bool same = count == other.count;
    for (int64_t i = 0; same && i < count; ++i) {
      same = master.at(i + master_shift) == other.master.at(i + other.master_shift) &&
             exp_avg.at(i + moment_shift) == other.exp_avg.at(i + other.moment_shift) &&
             exp_avg_sq.at(i + moment_shift) == other.exp_avg_sq.at(i + other.moment_shift) &&
             bf16_copy.data()[i + master_shift].bits == other.bf16_copy.data()[i + other.master_shift].bits;
    }
    return same;
  }

  int64_t count, master_shift, moment_shift;
  Array<float> master, grad, exp_avg, exp_avg_sq;
  Array<Bfloat16> bf16_copy;
};

constexpr AdamWScalars kScalars = {.one_minus_beta1 = 0.1f,
                                   .beta2 = 0.95f,
                                   .one_minus_beta2 = 0.05f,
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
    const double per_m = static_cast<double>(kRates.step_size) / denominator;
    const double expected_w = w * static_cast<double>(kRates.keep) - per_m * expected_m;
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
        EXPECT_EQ(state.bf16_copy.at(i + of_master), static_cast<double>(rounded<Bfloat16>(master)));
      }
      if (of_master == 0 && of_moments == 0) aligned = state;
      EXPECT_TRUE(state == aligned) << "other bits";
    }
  }
}

TEST(CudaFlat, AdamWWithoutABf16CopyDoesTheSameToTheMaster) {
  State with(1030, 0, 0);
  State without = with;
  with.update(kScalars, 0.01);
  without.update(kScalars, 0.01, /*with_bf16_copy=*/false);
  EXPECT_TRUE(with.master == without.master && with.exp_avg == without.exp_avg &&
              with.exp_avg_sq == without.exp_avg_sq);
  EXPECT_TRUE(without.bf16_copy == State(1030, 0, 0).bf16_copy) << "written without one";
}

TEST(CudaFlat, AdamWChangesNothingWhereTheFactorIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double factor : {std::nan(""), infinity, -infinity}) {
    for (const int64_t shift : {0, 1}) {
      const State before(1030, 0, shift);
      State after = before;
      after.update(kScalars, factor);
      EXPECT_TRUE(after.master == before.master && after.exp_avg == before.exp_avg &&
                  after.exp_avg_sq == before.exp_avg_sq && after.bf16_copy == before.bf16_copy);
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
                  std::isnan(state.exp_avg_sq.at(i)) && std::isnan(state.bf16_copy.at(i)));
    } else {
      EXPECT_EQ(state.master.at(i), finite.master.at(i)) << i;
    }
  }
}

TEST(CudaFlat, AdamWOfNothingLaunchesNothing) {
  const int before = emulation::launches;
  State state(0, 0, 0);
  state.update(kScalars, 1.0);
  EXPECT_EQ(emulation::launches, before);
}

// Many slices of all sizes, with rates of their own, between elements that belong to none and beside moments
// of other owners: each as if it were alone. One, as many as a launch takes, and one more.
TEST(CudaFlat, AdamWTakesManySlicesAtOnce) {
  constexpr int64_t kSliceSizes[] = {64, 1, 1024, 3, 2052, 12, 1021, 0, 768, 66, 1};
  for (const int count : {1, AdamWParts::kMost, AdamWParts::kMost + 1}) {
    SCOPED_TRACE(count);
    std::vector<AdamWSliceView> slices;
    int64_t begin = 3, moment = 0;
    int empty = 0;
    for (int i = 0; i < count + empty; ++i) {
      const auto which = static_cast<size_t>(i);
      const int64_t size = kSliceSizes[which % std::size(kSliceSizes)];
      if (size == 0) ++empty;
      begin += i % 3;  // slices that touch, and that begin where no vector does
      slices.push_back({.begin = begin,
                        .moment = moment,
                        .size = size,
                        .rates = {.keep = 1.0f - 0.001f * static_cast<float>(i % 7),
                                  .step_size = 0.01f * static_cast<float>(1 + i % 5)}});
      begin += size;
      moment += size + i % 2;
    }
    const State before(begin + 9, 0, 0);
    const auto update = [&](State& state, const AdamWSliceView* first, int64_t number) {
      Array<float> factor(1);
      factor.set(0, 0.01);
      adamw({state.master.data(), state.grad.data(), state.exp_avg.data(), state.exp_avg_sq.data(),
             state.bf16_copy.data()},
            first, number, kScalars, factor.data(), nullptr);
    };
    State together = before;
    const int launches = emulation::launches;
    update(together, slices.data(), static_cast<int64_t>(slices.size()));
    EXPECT_EQ(emulation::launches - launches, divide_up(count, AdamWParts::kMost));
    State apart = before;
    for (const AdamWSliceView& slice : slices) update(apart, &slice, 1);
    EXPECT_TRUE(together == apart);
    EXPECT_TRUE(together.grad == before.grad);
    // FollowsTheFormula covers the slice itself; here, nothing else may have changed.
    std::vector<bool> in_a_slice(static_cast<size_t>(before.count)), has_moment(in_a_slice);
    for (const AdamWSliceView& slice : slices) {
      for (int64_t i = 0; i < slice.size; ++i) {
        in_a_slice[static_cast<size_t>(slice.begin + i)] = true;
        has_moment[static_cast<size_t>(slice.moment + i)] = true;
      }
    }
    for (int64_t i = 0; i < before.count; ++i) {
      const bool moved = together.master.at(i) != before.master.at(i);
      const bool moment_moved = together.exp_avg.at(i) != before.exp_avg.at(i);
      ASSERT_EQ(moved, in_a_slice[static_cast<size_t>(i)]) << i;
      ASSERT_EQ(moment_moved, has_moment[static_cast<size_t>(i)]) << i;
    }
  }
}

}  // namespace
}  // namespace ssgpt::kernels::cuda
