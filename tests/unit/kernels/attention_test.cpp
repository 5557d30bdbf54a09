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
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

namespace ssgpt::kernels {
namespace {

struct Shape {
  int64_t batch, time, heads, head_dim;
};
// One token; below, at and beyond a tile (6, 12), a vector (4, 8, 16), a panel (8, 16, 32), a block (96); the
// usual head dims.
const std::vector<Shape> kShapes = {{1, 1, 1, 2},    {2, 5, 3, 6},   {1, 9, 1, 8},   {1, 12, 2, 32},
                                    {2, 17, 1, 16},  {3, 33, 2, 64}, {1, 95, 1, 96}, {1, 96, 2, 64},
                                    {2, 97, 1, 128}, {3, 250, 2, 80}};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// (batch, time), int32. `document` > 0: the first document of row b has document + b tokens, and the later
// ones other lengths, of at most twice as many as `document`.
at::Tensor num_keys_of(int64_t batch, int64_t time, int64_t document) {
  const at::Tensor result = at::empty({batch, time}, at::kInt);
  int* to = result.mutable_data_ptr<int>();
  for (int64_t row = 0; row < batch; ++row) {
    int64_t length = document > 0 ? document + row : time;
    int64_t begin = 0;
    for (int64_t t = 0; t < time; ++t) {
      if (t - begin == length) {
        begin = t;
        length = 1 + (7 * length + row) % (2 * document);
      }
      *to++ = static_cast<int>(t - begin + 1);
    }
  }
  return result;
}

struct Result {
  AttentionResult forward;
  at::Tensor d_qkv;
};
constexpr auto kBackend = AttentionBackend::kFlash;  // not read on a CPU

class Attention : public OpTest {
 protected:
  // The workspace and the outputs hold NaN before, and nothing is written beyond the workspace.
  static Result run(const at::Tensor& qkv, const at::Tensor& num_keys, const at::Tensor& d_out) {
    const int64_t size = attention_workspace(at::kCPU, qkv.size(1), qkv.size(4));
    const at::Tensor space = at::full({size + 64}, kNan, at::kFloat);
    const at::Tensor workspace = space.narrow(0, 0, size), beyond = space.narrow(0, size, 64);
    beyond.fill_(7.0);
    const Spans spans = {.num_keys = num_keys, .starts = {}};
    const at::Tensor logsumexp = at::full({qkv.size(0), qkv.size(3), qkv.size(1)}, kNan, at::kFloat);
    Result result = {.forward = {.out = at::full_like(d_out, kNan), .logsumexp = logsumexp, .extra = {}},
                     .d_qkv = at::full_like(qkv, kNan)};
    attention_forward(qkv, spans, kBackend, workspace, result.forward);
    workspace.fill_(kNan);
    const AttentionInputGradients gradients =
        attention_backward(d_out, qkv, result.forward, spans, kBackend, workspace, result.d_qkv);
    EXPECT_TRUE(gradients.d_k.is_alias_of(result.d_qkv));
    EXPECT_TRUE(beyond.eq(7.0).all().item<bool>());
    return result;
  }

  // `document`: as for num_keys_of.
  void compare(const Shape& shape, int64_t document, double scale) {
    const auto [batch, time, heads, head_dim] = shape;
    SCOPED_TRACE(testing::Message() << batch << " x " << time << " x " << heads << " x " << head_dim
                                    << ", documents of " << document);
    const at::Tensor qkv = data({batch, time, 3, heads, head_dim}, scale);
    const at::Tensor d_out = data({batch, time, heads, head_dim});
    const at::Tensor t = at::arange(time, at::kLong);
    const at::Tensor num_keys = num_keys_of(batch, time, document);

    const at::Tensor qkv64 = leaf(qkv);
    const at::Tensor q = qkv64.select(2, 0).transpose(1, 2);
    const at::Tensor k = qkv64.select(2, 1).transpose(1, 2);
    const at::Tensor v = qkv64.select(2, 2).transpose(1, 2);
    const at::Tensor key = t.unsqueeze(0);
    const at::Tensor query = t.unsqueeze(1);
    const at::Tensor first = query + 1 - num_keys.unsqueeze(2);  // (batch, time, 1)
    const at::Tensor hidden = (key > query).logical_or(key < first).unsqueeze(1);
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
  compare({2, 1100, 2, 80}, 0, 1.0);  // several heads, each of several columns of panels
}

// Scores of several hundred, as SSMax's row scale and training make them: e^score alone would overflow.
TEST_P(Attention, LargeScoresMatch) {
  const double scale = dtype() == at::kFloat ? 6.0 : 4.0;
  compare({1, 130, 2, 64}, 0, scale);
}

TEST_P(Attention, TheNumberOfThreadsChangesNoBit) {
  const at::Tensor qkv = data({3, 230, 3, 3, 32});
  const at::Tensor d_out = data({3, 230, 3, 32});
  const at::Tensor num_keys = num_keys_of(3, 230, 60);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Result one = run(qkv, num_keys, d_out);
  at::set_num_threads(4);
  const Result four = run(qkv, num_keys, d_out);
  at::set_num_threads(threads);
  EXPECT_TRUE(one.forward.out.equal(four.forward.out));
  EXPECT_TRUE(one.forward.logsumexp.equal(four.forward.logsumexp));
  EXPECT_TRUE(one.d_qkv.equal(four.d_qkv));
}

// A number that is not one reaches each query that attends to it, so that the loss shows it, and no other
// head or sequence.
TEST_P(Attention, NanIsSeenWhereItIsAttendedTo) {
  const at::Tensor num_keys = num_keys_of(2, 40, 0);
  const at::Tensor clean = data({2, 40, 3, 2, 8});
  const at::Tensor d_out = data({2, 40, 2, 8});
  constexpr int64_t kToken = 20;
  for (int64_t part = 0; part < 3; ++part) {
    SCOPED_TRACE(testing::Message() << "part " << part);
    const at::Tensor qkv = clean.clone();
    qkv.select(0, 1).select(0, kToken).select(0, part).select(0, 1).select(0, 3).fill_(kNan);
    const Result result = run(qkv, num_keys, d_out);
    const at::Tensor out = result.forward.out.isnan();
    const at::Tensor reached = out.select(0, 1).select(1, 1).any(1);  // (time)
    const int64_t last = part == 0 ? kToken + 1 : 40;                 // a query is seen by itself alone
    EXPECT_TRUE(reached.slice(0, kToken, last).all().item<bool>());
    EXPECT_FALSE(out.select(0, 0).any().item<bool>());
    EXPECT_FALSE(out.select(2, 0).any().item<bool>());
    const at::Tensor gradient = result.d_qkv.isnan();
    EXPECT_TRUE(gradient.select(0, 1).select(2, 1).any().item<bool>());
    EXPECT_FALSE(gradient.select(0, 0).any().item<bool>());
    EXPECT_FALSE(gradient.select(3, 0).any().item<bool>());
  }
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
