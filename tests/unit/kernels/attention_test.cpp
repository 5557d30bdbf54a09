// Attention against plain fp64 formulas and autograd.

#include "core/check.h"
#include "kernels/ops.h"
#include "kernels/support.h"

#include <array>
#include <cmath>
#include <limits>

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

namespace ssgpt::kernels {
namespace {

struct Shape {
  int64_t batch, time, heads, head_dim;
};
// One token; below, at and beyond a tile (6, 12), a panel (8, 16, 32), a block (96); the usual head dims.
const std::vector<Shape> kShapes = {{1, 1, 1, 2},   {2, 5, 3, 6},   {1, 12, 2, 32},  {3, 33, 2, 64},
                                    {1, 95, 1, 96}, {1, 96, 2, 64}, {2, 97, 1, 128}, {1, 250, 2, 80}};

struct Result {
  AttentionResult forward;
  at::Tensor d_qkv;
};
constexpr auto kBackend = AttentionBackend::kFlash;  // not read on a CPU

class Attention : public OpTest {
 protected:
  static Result run(const at::Tensor& qkv, const at::Tensor& num_keys, const at::Tensor& d_out) {
    const at::Tensor workspace = at::full({attention_workspace(at::kCPU, qkv.size(1), qkv.size(4))},
                                          std::numeric_limits<double>::quiet_NaN(), at::kFloat);
    const Spans spans = {.num_keys = num_keys, .starts = {}};
    Result result = {.forward = {.out = at::empty_like(d_out),
                                 .logsumexp = at::empty({qkv.size(0), qkv.size(3), qkv.size(1)}, at::kFloat),
                                 .extra = {}},
                     .d_qkv = at::empty_like(qkv)};
    attention_forward(qkv, spans, kBackend, workspace, result.forward);
    workspace.fill_(std::numeric_limits<double>::quiet_NaN());
    const AttentionInputGradients gradients =
        attention_backward(d_out, qkv, result.forward, spans, kBackend, workspace, result.d_qkv);
    EXPECT_TRUE(gradients.d_k.is_alias_of(result.d_qkv));
    return result;
  }

  // `document` > 0: attention restarts every so many tokens.
  void compare(const Shape& shape, int64_t document, double scale) {
    const auto [batch, time, heads, head_dim] = shape;
    SCOPED_TRACE(testing::Message() << batch << " x " << time << " x " << heads << " x " << head_dim
                                    << ", documents of " << document);
    const at::Tensor qkv = data({batch, time, 3, heads, head_dim}, scale);
    const at::Tensor d_out = data({batch, time, heads, head_dim});
    const at::Tensor t = at::arange(time, at::kLong);
    const at::Tensor n = document > 0 ? at::remainder(t, document) + 1 : t + 1;
    const at::Tensor num_keys = n.to(at::kInt).expand({batch, time}).contiguous();

    const at::Tensor qkv64 = leaf(qkv);
    const at::Tensor q = qkv64.select(2, 0).transpose(1, 2);
    const at::Tensor k = qkv64.select(2, 1).transpose(1, 2);
    const at::Tensor v = qkv64.select(2, 2).transpose(1, 2);
    const at::Tensor key = t.unsqueeze(0);
    const at::Tensor query = t.unsqueeze(1);
    const at::Tensor hidden = (key > query).logical_or(key < query + 1 - n.unsqueeze(1));
    const at::Tensor scores =
        at::where(hidden, -std::numeric_limits<double>::infinity(),
                  at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(head_dim)));
    const at::Tensor expected = at::matmul(at::softmax(scores, 3), v).transpose(1, 2);
    expected.backward(fp64(d_out));

    const Result result = run(qkv, num_keys, d_out);
    // fp32: scores are sums of up to 128 products of up to 30; e^score turns their error of 1e-6 into a
    // relative one. bf16: the stored result is rounded; the backward reads that rounded result in <d_out,
    // out>.
    const double relative = unit() + 4e-6 * std::max(1.0, scale);
    EXPECT_TRUE(is_close(result.forward.out, expected, relative, 4e-6 * scale));
    EXPECT_TRUE(is_close(result.forward.logsumexp, at::logsumexp(scores, 3), 1e-6, 2e-6));
    const double backward = dtype() == at::kFloat ? 1e-5 * scale : 0x1p-7;
    EXPECT_TRUE(is_close(result.d_qkv, qkv64.grad(), unit() + 1e-5, backward));
  }
};

TEST_P(Attention, MatchesThePlainFormula) {
  for (const Shape& shape : kShapes) compare(shape, 0, 1.0);
}

TEST_P(Attention, StaysWithinDocuments) {
  for (const Shape& shape : kShapes) {
    for (const int64_t document : {1, 7, 96, 130}) compare(shape, document, 1.0);
  }
}

// Windows of more keys than are attended to at a time (1,056): the softmax goes on over several chunks, some
// of them without a single key for rows whose document begins behind them.
TEST_P(Attention, LongWindowsMatch) {
  compare({1, 1100, 1, 16}, 0, dtype() == at::kFloat ? 6.0 : 4.0);
  for (const int64_t document : {1058, 1070}) compare({1, 2150, 1, 4}, document, 1.0);
}

// Scores of several hundred, as SSMax's row scale and training make them: e^score alone would overflow.
TEST_P(Attention, LargeScoresMatch) {
  const double scale = dtype() == at::kFloat ? 6.0 : 4.0;
  compare({1, 130, 2, 64}, 0, scale);
}

TEST_P(Attention, TheNumberOfThreadsChangesNoBit) {
  const at::Tensor qkv = data({3, 70, 3, 3, 32});
  const at::Tensor d_out = data({3, 70, 3, 32});
  const at::Tensor num_keys = at::arange(1, 71, at::kInt).expand({3, 70}).contiguous();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Result one = run(qkv, num_keys, d_out);
  at::set_num_threads(4);
  const Result four = run(qkv, num_keys, d_out);
  at::set_num_threads(threads);
  EXPECT_TRUE(one.forward.out.equal(four.forward.out));
  EXPECT_TRUE(one.d_qkv.equal(four.d_qkv));
}

TEST_P(Attention, KeysBeforeTheRowOrAFallingFirstKeyAreDefects) {
  const at::Tensor qkv = data({1, 3, 3, 1, 2});
  const at::Tensor d_out = data({1, 3, 1, 2});
  for (const std::array<int, 3>& wrong :
       {std::array{1, 3, 1}, std::array{1, 0, 1}, std::array{1, 1, 2 + 1}}) {
    const at::Tensor num_keys = at::empty({1, 3}, at::kInt);
    std::copy(wrong.begin(), wrong.end(), num_keys.mutable_data_ptr<int>());
    EXPECT_THROW(run(qkv, num_keys, d_out), core::InternalError);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Attention, testing::ValuesIn(all_variants()), variant_name);

}  // namespace
}  // namespace ssgpt::kernels
