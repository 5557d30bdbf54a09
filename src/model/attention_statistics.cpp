#include "model/attention_statistics.h"

#include "core/check.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

namespace ssgpt::model {
namespace {

constexpr int64_t kScoresAtATime = int64_t{1} << 22;

// Processes the queries of one sequence from `begin` on, all heads at once.
//   q: fp32 (N, Q, H).  k: fp32 (N, begin + Q, H).  num_keys: int64 (Q).  Outputs: fp32 (N, Q) views, =.
void fill_block(const at::Tensor& q, const at::Tensor& k, const at::Tensor& num_keys, int64_t begin,
                const at::Tensor& entropy, const at::Tensor& largest, const at::Tensor& first) {
  const int64_t queries = q.size(1);
  const at::Tensor position = at::arange(begin, begin + queries, num_keys.options());
  const at::Tensor key = at::arange(0, begin + queries, num_keys.options());
  const at::Tensor first_key = position + 1 - num_keys;
  const at::Tensor hidden = (key < first_key.unsqueeze(1)).logical_or(key > position.unsqueeze(1));

  // exp(-200) is 0 in fp32: hidden keys have no weight, and no infinity remains that would give NaN when
  // multiplied by 0.
  constexpr double kNoWeight = -200.0;
  const at::Tensor scores = at::bmm(q, k.transpose(1, 2));
  scores.mul_(1.0 / std::sqrt(static_cast<double>(q.size(2))));
  scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
  scores.sub_(scores.amax({2}, /*keepdim=*/true)).clamp_min_(kNoWeight);
  const at::Tensor weights = scores.exp();
  const at::Tensor total = weights.sum({2});
  // With z_j = score_j - max: - sum a log a = log(total) - sum(exp(z) z) / total.
  entropy.copy_((total.log() - scores.mul_(weights).sum({2}) / total).clamp_min_(0.0));
  largest.copy_(total.reciprocal());
  const at::Tensor index = first_key.view({1, queries, 1}).expand({q.size(0), queries, 1});
  first.copy_(weights.gather(2, index).squeeze(2) / total);
}

}  // namespace

void fill_attention_statistics(const at::Tensor& qkv, const at::Tensor& num_keys, int64_t block_queries,
                               AttentionStatistics& statistics) {
  SSGPT_CHECK(qkv.dim() == 5 && qkv.size(2) == 3, "qkv has {} dimensions, expected (B, T, 3, N, H)",
              qkv.dim());
  const int64_t batch = qkv.size(0);
  const int64_t time = qkv.size(1);
  const int64_t heads = qkv.size(3);
  SSGPT_CHECK(num_keys.dim() == 2 && num_keys.size(0) == batch && num_keys.size(1) == time,
              "num_keys are not (B, T)");
  SSGPT_CHECK(block_queries >= 0, "blocks of {} queries", block_queries);
  const int64_t block = block_queries > 0 ? std::min(block_queries, time)
                                          : std::clamp<int64_t>(kScoresAtATime / (heads * time), 1, time);
  const at::TensorOptions fp32 = qkv.options().dtype(at::kFloat);
  statistics.num_keys = num_keys;
  for (at::Tensor* output : {&statistics.entropy, &statistics.largest, &statistics.first})
    *output = at::empty({batch, heads, time}, fp32);
  for (int64_t b = 0; b < batch; ++b) {
    const auto by_head = [&](int64_t part) {
      return qkv[b].select(1, part).transpose(0, 1).to(at::kFloat).contiguous();
    };
    const at::Tensor q = by_head(0);
    const at::Tensor k = by_head(1);
    const at::Tensor counts = num_keys[b].to(at::kLong);
    for (int64_t begin = 0; begin < time; begin += block) {
      const int64_t queries = std::min(block, time - begin);
      const auto rows = [&](const at::Tensor& of) {
        return of[b].narrow(1, begin, queries);
      };
      fill_block(q.narrow(1, begin, queries), k.narrow(1, 0, begin + queries),
                 counts.narrow(0, begin, queries), begin, rows(statistics.entropy), rows(statistics.largest),
                 rows(statistics.first));
    }
  }
}

at::Tensor score_factors(const kernels::RowScale& row_scale, const kernels::Rotation& rotation,
                         int64_t num_heads, int64_t head_dim, const at::Tensor& num_keys) {
  const int64_t count = num_keys.numel();
  SSGPT_CHECK(count > 0, "there are no numbers of keys");
  const int64_t rotated = 2 * rotation.cos.size(1);
  SSGPT_CHECK(rotated <= head_dim, "{} of {} dimensions are rotated", rotated, head_dim);
  // At time 0 all rotated pairs are alike, and so are all other dimensions.
  const int64_t half = std::min<int64_t>(rotation.cos.size(1), 1);
  const int64_t others = rotated < head_dim ? 2 : 0;
  const auto at_time_zero = [&](const at::Tensor& table) {
    return table.narrow(0, 0, 1).narrow(1, 0, half).expand({count, half}).contiguous();
  };
  const at::Tensor qkv = at::ones({1, count, 3, num_heads, 2 * half + others}, rotation.cos.options());
  kernels::rope_forward(
      qkv, {.cos = at_time_zero(rotation.cos), .sin = at_time_zero(rotation.sin), .rest = rotation.rest},
      num_keys.view({1, count}), row_scale, /*norm=*/{});
  const auto factors_of = [&](int64_t dim) {  // (N, count)
    const at::Tensor values = qkv[0].select(3, dim);
    return (values.select(1, 0) * values.select(1, 1)).t().contiguous();
  };
  if (rotated == head_dim) return factors_of(0);
  if (rotated == 0) return factors_of(2 * half);
  const double share = static_cast<double>(rotated) / static_cast<double>(head_dim);
  return factors_of(0) * share + factors_of(2 * half) * (1.0 - share);
}

}  // namespace ssgpt::model
