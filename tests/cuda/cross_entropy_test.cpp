// Softmax cross-entropy on a GPU against autograd in fp64.
#include "core/error.h"
#include "kernels/ops.h"
#include "op_support.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

namespace ssgpt::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Size {
  int64_t rows, vocab, padding;
};

// One token; whole vectors and not; padding within the last vector, and of whole vectors; rows that all
// threads load at once, or in several turns.
constexpr std::array kSizes = {Size{1, 1, 0},     Size{4, 1, 7},      Size{3, 8, 0},      Size{5, 37, 0},
                               Size{5, 37, 3},    Size{5, 37, 27},    Size{3, 1000, 24},  Size{4, 50257, 47},
                               Size{1, 50257, 0}, Size{3, 200000, 0}, Size{1, 199999, 2}, Size{300, 1000, 0}};

struct Result {
  at::Tensor losses;    // fp32 (R)
  at::Tensor gradient;  // data (R, C)
};

class CrossEntropyOnGpu : public OpOnGpu {
 protected:
  // Bitwise equality: NaN equals itself.
  static bool same_bits(const at::Tensor& a, const at::Tensor& b) {
    const at::ScalarType integer = a.element_size() == 4 ? at::kInt : at::kShort;
    return a.view(integer).equal(b.view(integer));
  }

  // Runs both functions and checks that the forward alone leaves the logits unchanged and gives the same
  // bits. Tensors are on the GPU; the logits are left unchanged.
  static Result run(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab) {
    const at::Tensor losses = nans({logits.size(0)});
    const at::Tensor again = nans({logits.size(0)});
    const at::Tensor work = logits.clone();
    cross_entropy_forward(work, targets, vocab, losses);
    EXPECT_TRUE(same_bits(work, logits));
    cross_entropy_forward_backward(work, targets, vocab, again);
    EXPECT_TRUE(same_bits(again, losses));
    return {losses, work};
  }

  // Compares result with autograd.   logits: on the CPU.  targets: on the CPU, int64.
  static void expect_follows(const Result& result, const at::Tensor& logits, const at::Tensor& targets,
                             int64_t vocab);
};

void CrossEntropyOnGpu::expect_follows(const Result& result, const at::Tensor& logits,
                                       const at::Tensor& targets, int64_t vocab) {
  const at::Tensor predicted = leaf(logits.narrow(1, 0, vocab));
  const at::Tensor is_counted = targets >= 0;
  const at::Tensor index = targets.clamp_min(0).unsqueeze(1);
  const at::Tensor log_p = at::log_softmax(predicted, 1);
  const at::Tensor losses = -log_p.gather(1, index).squeeze(1) * is_counted.to(at::kDouble);
  losses.sum().backward();
  const at::Tensor p = log_p.detach().exp() * is_counted.to(at::kDouble).unsqueeze(1);
  const at::Tensor normalizer =
      (fp64(logits).gather(1, index) - log_p.detach().gather(1, index)).squeeze(1).abs();

  // Relative error of the sum of exponentials. A thread adds one of 512 parts of the row and rescales its sum
  // when its maximum grows, some 10 times in random numbers, with 4 roundings (2 ulp) for 2^x and one for the
  // product; the block does so once more and adds 5 + 16 times. Each of those exponentials is also off by 3
  // per unit of its argument (the difference, the product with log2(e), and that number): together they
  // account for a term's distance from the maximum, whose average over the softmax is below log V, since it
  // is at most the entropy.
  const double log_vocab = std::log(static_cast<double>(vocab));
  const double sum = static_cast<double>(vocab) / 512 + 12 * 5 + 5 + 16 + 3 * log_vocab;
  // The logarithm, 2 roundings of at most log V, and the sum with the maximum; then the loss.
  const at::Tensor of_normalizer = normalizer + (sum + 2 * log_vocab);
  EXPECT_TRUE(compare(result.losses, losses, /*roundings=*/1, of_normalizer + losses.detach().abs()));
  // e^(x - normalizer): 4, and 3 per unit of its argument. Where 1 is subtracted, one more.
  const at::Tensor of_p = p * (of_normalizer.unsqueeze(1) + 3 * log_p.detach().abs() + 4);
  const at::Tensor gradient = predicted.grad();
  EXPECT_TRUE(compare(result.gradient.narrow(1, 0, vocab), gradient, /*roundings=*/1, of_p + gradient.abs()));

  EXPECT_TRUE(result.gradient.narrow(1, vocab, logits.size(1) - vocab).eq(0.0).all().item<bool>());
  const at::Tensor left_out = on_gpu(is_counted.logical_not());
  EXPECT_TRUE(result.losses.masked_select(left_out).eq(0.0).all().item<bool>());
  EXPECT_TRUE(result.gradient.masked_select(left_out.unsqueeze(1)).eq(0.0).all().item<bool>());
}

TEST_F(CrossEntropyOnGpu, FollowsAutogradAndNeverReadsPadding) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const auto& [rows, vocab, padding] : kSizes) {
      SCOPED_TRACE(testing::Message()
                   << c10::toString(dtype) << ", " << rows << " rows of " << vocab << " + " << padding);
      const at::Tensor logits = normal({rows, vocab + padding}, 4.0, dtype);
      const at::Tensor is_odd = at::remainder(at::arange(padding), 2) == 1;
      logits.narrow(1, vocab, padding).copy_(at::where(is_odd, std::nan(""), kInfinity));
      // The last token in row 0; no target in rows 2, 6, ...
      const at::Tensor row = at::arange(rows);
      const at::Tensor targets =
          at::where(at::remainder(row, 4) == 2, -100 + row, at::remainder((row + 1) * (vocab - 1), vocab));
      const Result result = run(on_gpu(logits, dtype), on_gpu(targets), vocab);
      expect_follows(result, logits, targets, vocab);
    }
  }
}

// Independent of this GPU's default. Rows that do not fit in shared memory stay in global memory.
TEST_F(CrossEntropyOnGpu, ARowInSharedMemoryHasTheSameBits) {
  constexpr const char* kVariable = "SSGPT_CROSS_ENTROPY_ROW";
  for (const at::ScalarType dtype : kDataTypes) {
    for (const auto& [rows, vocab, padding] : kSizes) {
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << rows << " rows of " << vocab);
      const at::Tensor logits = on_gpu(normal({rows, vocab + padding}, 4.0, dtype), dtype);
      const at::Tensor targets = at::arange(rows, logits.options().dtype(at::kLong)).remainder(vocab);
      setenv(kVariable, "global", /*overwrite=*/1);
      const Result global = run(logits, targets, vocab);
      setenv(kVariable, "shared", /*overwrite=*/1);
      const Result shared = run(logits, targets, vocab);
      unsetenv(kVariable);
      EXPECT_TRUE(same_bits(shared.losses, global.losses) && same_bits(shared.gradient, global.gradient));
    }
  }
  setenv(kVariable, "cache", /*overwrite=*/1);
  const at::Tensor logits = nans({1, 8});
  const at::Tensor targets = at::zeros({1}, logits.options().dtype(at::kLong));
  EXPECT_THROW(cross_entropy_forward(logits, targets, 8, nans({1})), core::UsageError);
  unsetenv(kVariable);
}

TEST_F(CrossEntropyOnGpu, WithoutTargetsAllIsZero) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t vocab : {37, 1000}) {
      const at::Tensor logits = nans({3, vocab + 3}, dtype);
      const Result result = run(logits, on_gpu(at::full({3}, -1, at::kLong)), vocab);
      EXPECT_TRUE(result.losses.equal(at::zeros_like(result.losses)));
      EXPECT_TRUE(result.gradient.equal(at::zeros_like(result.gradient)));
    }
  }
}

TEST_F(CrossEntropyOnGpu, SizesThatOverflowAnExponentialAreNoMatter) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const double size : {30000.0, 3e38}) {
      const at::Tensor logits = nans({2, 40}, dtype).fill_(-size);
      logits[0][3].fill_(size);
      logits[1].narrow(0, 5, 2).fill_(size);
      const Result result = run(logits, on_gpu(at::arange(2).mul(3).add(3)), 40);
      EXPECT_EQ(result.losses[0].item<float>(), 0.0f);
      EXPECT_TRUE(result.gradient[0].equal(at::zeros_like(result.gradient[0])));
      // The other row's two logits are equal: log 2, which is lost next to 3e38. At 30000 the last place is
      // 2^-9.
      if (size < 1e38) {
        EXPECT_NEAR(result.losses[1].item<double>(), std::log(2.0), 0x1p-9);
      }
    }
  }
}

TEST_F(CrossEntropyOnGpu, NanAndInfinitySpoilTheirRowAlone) {
  constexpr int64_t kColumns = 16400;  // all threads have some of them
  for (const at::ScalarType dtype : kDataTypes) {
    for (const double bad : {std::nan(""), kInfinity}) {
      for (const int64_t column : {int64_t{0}, int64_t{17}, kColumns - 1}) {
        const at::Tensor logits = on_gpu(normal({2, kColumns}), dtype);
        logits[0][column].fill_(bad);
        const Result result = run(logits, on_gpu(at::full({2}, 5, at::kLong)), kColumns);
        EXPECT_TRUE(result.losses[0].isnan().item<bool>() && result.losses[1].isfinite().item<bool>());
        EXPECT_TRUE(result.gradient[0].isnan().any().item<bool>());
        EXPECT_TRUE(result.gradient[1].isfinite().all().item<bool>());
      }
    }
  }
}

TEST_F(CrossEntropyOnGpu, MinusInfinityIsAProbabilityOfZero) {
  for (const at::ScalarType dtype : kDataTypes) {
    const at::Tensor logits = nans({2, 4000}, dtype).fill_(-kInfinity);
    logits.select(1, 7).fill_(-2.0);
    const Result result = run(logits, on_gpu(at::arange(2).add(7)), 4000);
    EXPECT_EQ(result.losses[0].item<double>(), 0.0);
    EXPECT_EQ(result.losses[1].item<double>(), kInfinity);
    const at::Tensor expected = at::zeros_like(logits);
    expected[1][7].fill_(1.0);
    expected[1][8].fill_(-1.0);
    EXPECT_TRUE(result.gradient.equal(expected));
  }
}

TEST_F(CrossEntropyOnGpu, ATargetBeyondTheVocabularyMakesItsRowNan) {
  constexpr int64_t kVocab = 30, kColumns = 32;
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t target : {int64_t{30}, int64_t{31}, int64_t{1} << 40}) {  // padding, and far beyond
      const at::Tensor targets = at::full({2}, 29, at::kLong);
      targets[0].fill_(target);
      const Result result = run(on_gpu(normal({2, kColumns}), dtype), on_gpu(targets), kVocab);
      EXPECT_TRUE(result.losses[0].isnan().item<bool>() && result.losses[1].isfinite().item<bool>());
      EXPECT_TRUE(result.gradient[0].narrow(0, 0, kVocab).isnan().all().item<bool>());
      EXPECT_TRUE(result.gradient[0].narrow(0, kVocab, kColumns - kVocab).eq(0.0).all().item<bool>());
      EXPECT_TRUE(result.gradient[1].isfinite().all().item<bool>());
    }
  }
}

TEST_F(CrossEntropyOnGpu, WaitsForTheCurrentStream) {
  for (const at::ScalarType dtype : kDataTypes) {
    const at::Tensor logits = on_gpu(normal({20, 50304}), dtype);
    const at::Tensor targets = on_gpu(at::arange(20));
    const Result expected = run(logits, targets, 50257);
    const at::Tensor losses = nans({20});
    cross_entropy_forward(late(logits), targets, 50257, losses);
    EXPECT_TRUE(losses.equal(expected.losses));
    losses.fill_(std::nan(""));
    const at::Tensor gradient = late(logits);
    cross_entropy_forward_backward(gradient, targets, 50257, losses);
    EXPECT_TRUE(losses.equal(expected.losses) && gradient.equal(expected.gradient));
  }
}

TEST_F(CrossEntropyOnGpu, TakesMoreElementsThanA32BitIndexHas) {
  constexpr int64_t kVocab = 50257, kColumns = 50304;
  const int64_t rows = (int64_t{1} << 31) / kColumns + 3;  // the last two lie beyond 2^31 elements
  at::Tensor logits;
  try {
    logits = nans({rows, kColumns}, at::kBFloat16);
  } catch (const c10::OutOfMemoryError&) {
    GTEST_SKIP() << "This GPU has no room for 4.3 GB.";
  }
  const at::Tensor last = normal({2, kColumns}, 4.0, at::kBFloat16);
  logits.narrow(0, rows - 2, 2).copy_(last);
  const at::Tensor last_targets = at::arange(2).mul(kVocab - 1);
  const at::Tensor targets = at::full({rows}, -1, at::kLong);
  targets.narrow(0, rows - 2, 2).copy_(last_targets);
  const at::Tensor losses = nans({rows});
  cross_entropy_forward(logits, on_gpu(targets), kVocab, losses);
  const at::Tensor last_losses = losses.narrow(0, rows - 2, 2).clone();
  EXPECT_TRUE(losses.narrow(0, 0, rows - 2).eq(0.0).all().item<bool>());
  cross_entropy_forward_backward(logits, on_gpu(targets), kVocab, losses);
  expect_follows({.losses = last_losses, .gradient = logits.narrow(0, rows - 2, 2)}, last, last_targets,
                 kVocab);
  EXPECT_TRUE(losses.narrow(0, rows - 2, 2).equal(last_losses));
  for (const int64_t row : {int64_t{0}, rows / 2, rows - 3}) {
    EXPECT_TRUE(logits[row].eq(0.0).all().item<bool>());
  }
}

}  // namespace
}  // namespace ssgpt::kernels
