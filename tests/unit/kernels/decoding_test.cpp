// The ops of decoding: attention to a cache, and matrix products of few rows.

#include "core/check.h"
#include "kernels/ops.h"
#include "kernels/support.h"

#include <cmath>
#include <cstring>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>

namespace ssgpt::kernels {
namespace {

class DecodingTest : public OpTest {
 protected:
  at::Tensor empty(at::IntArrayRef shape) const { return at::empty(shape, dtype()); }
};

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

// Two sequences of which one sees fewer keys than there are; sizes that no vector length divides, and the
// usual ones.
struct CacheCase {
  static constexpr int64_t kBatch = 2, kHeads = 3, kTime = 4, kCapacity = 30, kPosition = 21;
  CacheCase(const at::Tensor& qkv_data, const at::Tensor& keys_data, const at::Tensor& values_data)
      : qkv(qkv_data),
        keys(keys_data),
        values(values_data),
        num_keys(at::tensor({22, 23, 24, 25, 7, 1, 2, 3}, at::kInt).view({kBatch, kTime})),
        out(at::full({kBatch, kTime, kHeads, qkv.size(4)}, NAN, qkv.options())) {}
  void run() const {
    const at::Tensor scratch = at::full({keys.size(0), kHeads, kCapacity + qkv.size(4)}, NAN, at::kFloat);
    cached_attention_forward(qkv, num_keys, kPosition, keys, values, scratch, out);
  }
  at::Tensor qkv, keys, values, num_keys, out;
};

TEST_P(DecodingTest, CachedAttentionIsSoftmaxOverTheKeysThatTheQuerySees) {
  using C = CacheCase;
  for (const int64_t head_dim : {2, 10, 64}) {
    CacheCase c(data({C::kBatch, C::kTime, 3, C::kHeads, head_dim}),
                data({C::kBatch, C::kHeads, C::kCapacity, head_dim}),
                data({C::kBatch, C::kHeads, C::kCapacity, head_dim}));
    const at::Tensor earlier = fp64(c.keys);
    c.run();
    EXPECT_TRUE(fp64(c.keys).narrow(2, 0, C::kPosition).equal(earlier.narrow(2, 0, C::kPosition)));
    EXPECT_TRUE(c.keys[1][2][C::kPosition + 3].equal(c.qkv[1][3][1][2]));
    EXPECT_TRUE(c.values[0][1][C::kPosition].equal(c.qkv[0][0][2][1]));
    at::Tensor expected = at::empty(c.out.sizes(), at::kDouble);
    for (int64_t b = 0; b < C::kBatch; ++b) {
      for (int64_t t = 0; t < C::kTime; ++t) {
        const int64_t n = c.num_keys[b][t].item<int64_t>();
        const int64_t first = C::kPosition + t + 1 - n;
        for (int64_t head = 0; head < C::kHeads; ++head) {
          const at::Tensor k = fp64(c.keys[b][head].narrow(0, first, n));
          const at::Tensor v = fp64(c.values[b][head].narrow(0, first, n));
          const at::Tensor scores =
              at::matmul(k, fp64(c.qkv[b][t][0][head])) / std::sqrt(static_cast<double>(head_dim));
          expected[b][t][head] = at::matmul(at::softmax(scores, 0), v);
        }
      }
    }
    // Scores of up to 20 are off by 64 roundings at most, which the exponential takes over; the result is
    // rounded once to the data type.
    EXPECT_TRUE(is_close(c.out, expected, unit(), 2e-5 + unit()));
  }
}

TEST_P(DecodingTest, CachedAttentionOfASequenceDoesNotDependOnTheOthers) {
  using C = CacheCase;
  CacheCase both(data({C::kBatch, C::kTime, 3, C::kHeads, 10}),
                 data({C::kBatch, C::kHeads, C::kCapacity, 10}),
                 data({C::kBatch, C::kHeads, C::kCapacity, 10}));
  CacheCase second(both.qkv.narrow(0, 1, 1).clone(), both.keys.narrow(0, 1, 1).clone(),
                   both.values.narrow(0, 1, 1).clone());
  second.num_keys = both.num_keys.narrow(0, 1, 1).clone();
  second.out = second.out.narrow(0, 1, 1).clone();
  both.run();
  second.run();
  EXPECT_TRUE(same_bits(both.out[1].contiguous(), second.out[0].contiguous()));
}

TEST_P(DecodingTest, CachedAttentionRefusesKeysThatAreNotThere) {
  using C = CacheCase;
  CacheCase c(data({C::kBatch, C::kTime, 3, C::kHeads, 2}), data({C::kBatch, C::kHeads, C::kCapacity, 2}),
              data({C::kBatch, C::kHeads, C::kCapacity, 2}));
  c.num_keys[0][1] = 24;
  EXPECT_THROW(c.run(), core::InternalError);
  c.num_keys[0][1] = 0;
  EXPECT_THROW(c.run(), core::InternalError);
}

TEST_P(DecodingTest, ThinLinearIsTheProduct) {
  for (const auto& [rows, inputs, outputs] : {std::tuple{1, 5, 3}, {3, 100, 37}, {2, 256, 700}}) {
    const at::Tensor x = data({rows, inputs});
    const at::Tensor weight = data({outputs, inputs});
    const at::Tensor expected = at::matmul(fp64(x), fp64(weight).t());
    const at::Tensor out = empty({rows, outputs});
    const at::Tensor wide = at::empty({rows, outputs}, at::kFloat);
    thin_linear_forward(x, weight, out);
    thin_linear_forward(x, weight, wide);
    // A sum of up to 256 products of standard normal numbers, some 3e-6 off in fp32; then one rounding.
    EXPECT_TRUE(is_close(wide, expected, 1e-6, 1e-6));
    EXPECT_TRUE(is_close(out, expected, unit(), 1e-6));
  }
}

TEST_P(DecodingTest, ThinLinearGivesARowTheSameBitsInAnyBatchAndOnAnyNumberOfThreads) {
  const at::Tensor x = data({5, 203});
  const at::Tensor weight = data({1501, 203});
  const at::Tensor all = empty({5, 1501});
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  thin_linear_forward(x, weight, all);
  for (const int other : {1, 2, 3}) {
    at::set_num_threads(other);
    for (int64_t row = 0; row < 5; ++row) {
      const at::Tensor out = empty({1, 1501});
      thin_linear_forward(x.narrow(0, row, 1), weight, out);
      EXPECT_TRUE(same_bits(out, all.narrow(0, row, 1))) << row << " on " << other << " threads";
    }
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Variants, DecodingTest, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace ssgpt::kernels
