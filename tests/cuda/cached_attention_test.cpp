// Decoding operations on a GPU: attention to a KV cache, and skinny GEMM.
#include "gpu_support.h"
#include "kernels/ops.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

namespace ssgpt::kernels {
namespace {

class DecodingOnGpu : public OnGpu {};

at::Tensor fp64(const at::Tensor& x) {
  return x.cpu().to(at::kDouble);
}

// Tensors on the GPU.
struct Case {
  at::Tensor qkv;       // data (B, T, 3, N, H)
  at::Tensor keys;      // data (B, N, C, H)
  at::Tensor values;    // data (B, N, C, H)
  at::Tensor num_keys;  // int32 (B, T)
  int64_t position = 0;
  at::Tensor run() const {
    const at::Tensor out =
        at::full({qkv.size(0), qkv.size(1), qkv.size(3), qkv.size(4)}, std::nan(""), qkv.options());
    const at::Tensor scratch = at::full({keys.size(0), keys.size(1), keys.size(2) + keys.size(3)},
                                        std::nan(""), qkv.options().dtype(at::kFloat));
    cached_attention_forward(qkv, num_keys, position, keys, values, scratch, out);
    return out;
  }
};

// Compares one query with an fp64 softmax over its keys in the cache, its own included.
void expect_attended(const Case& c, const at::Tensor& out, int64_t b, int64_t t, int64_t head) {
  const int64_t n = c.num_keys[b][t].item<int64_t>();
  const int64_t first = c.position + t + 1 - n;
  const at::Tensor q = fp64(c.qkv[b][t][0][head]);
  const at::Tensor k = fp64(c.keys[b][head].narrow(0, first, n));
  const at::Tensor v = fp64(c.values[b][head].narrow(0, first, n));
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(0)));
  const at::Tensor scores = at::matmul(k, q) * scale;
  const at::Tensor weights = at::softmax(scores, 0);
  // A score adds up to 8 products per lane, then 4 parts and 32 lanes, and is scaled: below 20 roundings of
  // the size of its terms. The exponential inherits that as a relative error, plus the rounding of its
  // argument, and some for itself and for one rescaling per 256 keys. Sums of weights and of values add 8
  // keys per lane per 256, then 16 sums. All of that twice: the sum of weights divides that of values.
  const double terms = (at::matmul(k.abs(), q.abs()) * scale).max().item<double>();
  const double spread = (scores.max() - scores.min()).item<double>();
  const double tiles = std::ceil(static_cast<double>(n) / 256.0);
  const double roundings = 2.0 * (20.0 * terms + 2.0 * spread + 14.0 * tiles + 24.0);
  EXPECT_TRUE(compare(out[b][t][head], at::matmul(weights, v), roundings, at::matmul(weights, v.abs())))
      << "sequence " << b << ", token " << t << ", head " << head << ", " << n << " keys";
}

TEST_F(DecodingOnGpu, CachedAttentionAppendsAndIsSoftmaxOverTheKeysThatAQuerySees) {
  constexpr int64_t kBatch = 2, kHeads = 3, kTime = 5, kPosition = 1021, kCapacity = 1030;
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t head_dim : {2, 10, 32, 64, 80, 96, 100, 128, 264}) {
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", head dimension " << head_dim);
      const at::Tensor num_keys = (at::arange(kTime, at::kInt) + kPosition + 1).repeat({kBatch, 1});
      for (int64_t t = 0; t < kTime; ++t) num_keys[1][t].fill_(t < 2 ? 300 + t : t - 1);  // a new document
      const Case c = {.qkv = on_gpu(normal({kBatch, kTime, 3, kHeads, head_dim}), dtype),
                      .keys = on_gpu(normal({kBatch, kHeads, kCapacity, head_dim}), dtype),
                      .values = on_gpu(normal({kBatch, kHeads, kCapacity, head_dim}), dtype),
                      .num_keys = on_gpu(num_keys),
                      .position = kPosition};
      const at::Tensor keys = c.keys.clone();
      const at::Tensor values = c.values.clone();
      const at::Tensor out = c.run();
      keys.narrow(2, kPosition, kTime).copy_(c.qkv.select(2, 1).transpose(1, 2));
      values.narrow(2, kPosition, kTime).copy_(c.qkv.select(2, 2).transpose(1, 2));
      EXPECT_TRUE(c.keys.equal(keys) && c.values.equal(values));
      for (int64_t b = 0; b < kBatch; ++b) {
        for (int64_t t = 0; t < kTime; ++t) {
          for (int64_t head = 0; head < kHeads; ++head) expect_attended(c, out, b, t, head);
        }
      }
    }
  }
}

TEST_F(DecodingOnGpu, CachedAttentionOfATokenHasTheSameBitsAloneAndAmongOthers) {
  constexpr int64_t kTime = 7, kPosition = 500, kCapacity = 512;
  for (const at::ScalarType dtype : kDataTypes) {
    const at::Tensor qkv = on_gpu(normal({3, kTime, 3, 12, 64}), dtype);
    const at::Tensor keys = on_gpu(normal({3, 12, kCapacity, 64}), dtype);
    const at::Tensor values = on_gpu(normal({3, 12, kCapacity, 64}), dtype);
    const at::Tensor num_keys =
        on_gpu((at::arange(kTime, at::kInt) + kPosition + 1).repeat({3, 1}).contiguous());
    const at::Tensor together = Case{qkv, keys.clone(), values.clone(), num_keys, kPosition}.run();
    const Case alone = {.qkv = {},
                        .keys = keys.narrow(0, 1, 1).clone(),
                        .values = values.narrow(0, 1, 1).clone(),
                        .num_keys = {}};
    for (int64_t t = 0; t < kTime; ++t) {
      Case token = alone;
      token.qkv = qkv.narrow(0, 1, 1).narrow(1, t, 1).contiguous();
      token.num_keys = num_keys.narrow(0, 1, 1).narrow(1, t, 1).contiguous();
      token.position = kPosition + t;
      EXPECT_TRUE(token.run()[0][0].equal(together[1][t])) << t;
    }
  }
}

TEST_F(DecodingOnGpu, KeysThatAreNotThereMakeTheirQueryNotANumber) {
  const Case c = {.qkv = on_gpu(normal({1, 3, 3, 2, 64}), at::kBFloat16),
                  .keys = on_gpu(normal({1, 2, 30, 64}), at::kBFloat16),
                  .values = on_gpu(normal({1, 2, 30, 64}), at::kBFloat16),
                  .num_keys = at::full({1, 3}, 9, at::TensorOptions(device()).dtype(at::kInt)),
                  .position = 20};
  c.num_keys[0][0].fill_(0);
  c.num_keys[0][2].fill_(24);
  const at::Tensor out = c.run();
  EXPECT_TRUE(out[0][0].isnan().all().item<bool>() && out[0][2].isnan().all().item<bool>());
  expect_attended(c, out, 0, 1, 0);
  expect_attended(c, out, 0, 1, 1);
}

TEST_F(DecodingOnGpu, ThinLinearIsTheProduct) {
  struct Size {
    int64_t rows, inputs, outputs;
  };
  for (const at::ScalarType dtype : kDataTypes) {
    for (const Size& size :
         {Size{1, 5, 3}, Size{3, 100, 37}, Size{16, 768, 2304}, Size{1, 768, 50257}, Size{4, 256, 4096}}) {
      SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << size.rows << " x " << size.inputs
                                      << " x " << size.outputs);
      const at::Tensor x = on_gpu(normal({size.rows, size.inputs}), dtype);
      const at::Tensor weight = on_gpu(normal({size.outputs, size.inputs}), dtype);
      const at::Tensor expected = at::matmul(fp64(x), fp64(weight).t());
      const at::Tensor terms = at::matmul(fp64(x).abs(), fp64(weight).t().abs());
      for (const at::ScalarType out_dtype : {dtype, at::kFloat}) {
        const at::Tensor out =
            at::full({size.rows, size.outputs}, std::nan(""), x.options().dtype(out_dtype));
        thin_linear_forward(x, weight, out);
        // In any order, a sum of K products rounds each at most K times.
        EXPECT_TRUE(compare(out, expected, static_cast<double>(size.inputs), terms));
      }
    }
  }
}

}  // namespace
}  // namespace ssgpt::kernels
