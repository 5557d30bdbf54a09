// The embedding on a GPU, forward and backward.
#include "kernels/ops.h"
#include "op_support.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

namespace ssgpt::kernels {
namespace {

// Next to multiples of a vector, columns of one warp and of several.
constexpr std::array<int64_t, 9> kWidths = {1, 7, 8, 33, 64, 200, 264, 768, 1028};
constexpr int64_t kVocab = 300;

class EmbeddingOnGpu : public OpOnGpu {
 protected:
  // int64 on the CPU, in random order: runs[i] times token i.
  static at::Tensor tokens_in_runs(const std::vector<int64_t>& runs) {
    const int64_t rows = std::accumulate(runs.begin(), runs.end(), int64_t{0});
    const at::Tensor sorted = at::empty({rows}, at::kLong);
    int64_t first = 0;
    for (size_t token = 0; token < runs.size(); ++token) {
      sorted.narrow(0, first, runs[token]).fill_(static_cast<int64_t>(token));
      first += runs[token];
    }
    return sorted.index_select(0, at::randperm(rows, at::detail::createCPUGenerator(11), at::kLong));
  }

  // No token; a single one; one for all rows, the last id; each once; every run length around the longest
  // short one, whose sums take 1, 4 and 8 rows at a time; runs that take a block several rounds.
  std::vector<at::Tensor> token_cases() {
    std::vector<int64_t> lengths;
    for (int64_t length = 1; length <= 40; ++length) lengths.push_back(length % 3 == 0 ? 0 : length);
    return {at::empty({0}, at::kLong),
            at::full({1}, 5, at::kLong),
            at::full({1000}, kVocab - 1, at::kLong),
            at::arange(kVocab),
            tokens_in_runs(lengths),
            tokens_in_runs({17, 1, 130, 16, 1029, 3, 0, 300}),
            integers({2001}, kVocab)};
  }

  // Checks d_table (on the GPU), given its values `before` (on the CPU), after adding the rows of d_out with
  // valid tokens.
  static void expect_added(const at::Tensor& d_table, const at::Tensor& before, const at::Tensor& tokens,
                           const at::Tensor& d_out) {
    const int64_t vocab = before.size(0);
    const at::Tensor is_token = (tokens >= 0).logical_and(tokens < vocab);
    const at::Tensor valid = tokens.masked_select(is_token);
    const at::Tensor rows = fp64(d_out).index_select(0, is_token.nonzero().squeeze(1));
    const at::Tensor sum = fp64(before).index_add(0, valid, rows);
    const at::Tensor terms = fp64(before).abs().index_add(0, valid, rows.abs());
    // A short run is added row by row; of a long one each of 16 warps has a part, up to 8 rows longer than
    // the others', and adding the warps takes 16 more. Then the sum with the previous value.
    const at::Tensor run = at::bincount(valid, {}, vocab).to(at::kDouble);
    const at::Tensor roundings = at::where(run > 16, run / 16 + 8 + 16, run) + 1;
    EXPECT_TRUE(compare(d_table, sum, /*roundings=*/1, terms * roundings.unsqueeze(1)));
  }
};

TEST_F(EmbeddingOnGpu, ForwardCopiesRows) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t width : kWidths) {
      const at::Tensor table = normal({kVocab, width}, 1.0, dtype);
      for (const at::Tensor& tokens : token_cases()) {
        SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << tokens.numel() << " x " << width);
        const at::Tensor out = nans({tokens.numel(), width}, dtype);
        embedding_forward(on_gpu(tokens), on_gpu(table, dtype), out);
        EXPECT_TRUE(fp64(out).equal(fp64(table.index_select(0, tokens))));
      }
    }
  }
}

TEST_F(EmbeddingOnGpu, ForwardMakesRowsOfTokensThatAreNotThereNan) {
  const std::array<int64_t, 7> kTokens = {-1, 3, kVocab, 0, int64_t{1} << 40, kVocab - 1, INT64_MIN};
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t width : kWidths) {
      const at::Tensor tokens = at::empty({7}, at::kLong);
      std::copy(kTokens.begin(), kTokens.end(), tokens.mutable_data_ptr<int64_t>());
      const at::Tensor table = normal({kVocab, width}, 1.0, dtype);
      const at::Tensor out = at::zeros({7, width}, at::TensorOptions(device()).dtype(dtype));
      embedding_forward(on_gpu(tokens), on_gpu(table, dtype), out);
      for (int64_t row = 0; row < 7; ++row) {
        const int64_t token = kTokens[static_cast<size_t>(row)];
        if (token >= 0 && token < kVocab) {
          EXPECT_TRUE(fp64(out[row]).equal(fp64(table[token])));
        } else {
          EXPECT_TRUE(out[row].isnan().all().item<bool>());
        }
      }
    }
  }
}

TEST_F(EmbeddingOnGpu, BackwardAddsTheRowsOfEachToken) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t width : kWidths) {
      const at::Tensor before = normal({kVocab, width});
      for (const at::Tensor& tokens : token_cases()) {
        SCOPED_TRACE(testing::Message() << c10::toString(dtype) << ", " << tokens.numel() << " x " << width);
        const at::Tensor d_out = normal({tokens.numel(), width}, 1.0, dtype);
        const at::Tensor d_table = on_gpu(before);
        embedding_backward(on_gpu(tokens), on_gpu(d_out, dtype), d_table);
        expect_added(d_table, before, tokens, d_out);
      }
    }
  }
}

TEST_F(EmbeddingOnGpu, BackwardGivesTheSameBitsEveryTime) {
  for (const at::ScalarType dtype : kDataTypes) {
    for (const int64_t width : {33, 768}) {
      const at::Tensor before = on_gpu(normal({kVocab, width}));
      for (const at::Tensor& tokens : token_cases()) {
        const at::Tensor tokens_on_gpu = on_gpu(tokens);
        const at::Tensor d_out = on_gpu(normal({tokens.numel(), width}), dtype);
        const at::Tensor first = before.clone();
        embedding_backward(tokens_on_gpu, d_out, first);
        for (int i = 0; i < 3; ++i) {
          const at::Tensor again = before.clone();
          embedding_backward(tokens_on_gpu, d_out, again);
          EXPECT_TRUE(again.equal(first));
        }
      }
    }
  }
}

TEST_F(EmbeddingOnGpu, BackwardLeavesOutTokensThatAreNotThere) {
  constexpr int64_t kRows = 200;
  for (const at::ScalarType dtype : kDataTypes) {
    const at::Tensor tokens = integers({kRows}, 3);
    // Short and long runs of invalid tokens.
    tokens.narrow(0, 10, 30).fill_(-1);
    tokens.narrow(0, 60, 30).fill_(kVocab);
    tokens[1].fill_(-7);
    tokens[199].fill_(kVocab + 9);
    tokens[100].fill_((int64_t{1} << 32) + 5);  // in 32 bits it would be 5
    const at::Tensor before = normal({kVocab, 264});
    const at::Tensor d_out = normal({kRows, 264}, 1.0, dtype);
    const at::Tensor d_table = on_gpu(before);
    embedding_backward(on_gpu(tokens), on_gpu(d_out, dtype), d_table);
    expect_added(d_table, before, tokens, d_out);
  }
}

TEST_F(EmbeddingOnGpu, WaitsForTheCurrentStream) {
  for (const at::ScalarType dtype : kDataTypes) {
    const at::Tensor tokens = on_gpu(integers({2001}, kVocab));
    const at::Tensor table = on_gpu(normal({kVocab, 768}), dtype);
    const at::Tensor d_out = on_gpu(normal({2001, 768}), dtype);
    const at::Tensor expected_out = nans({2001, 768}, dtype);
    const at::Tensor expected_d_table = nans({kVocab, 768}).zero_();
    embedding_forward(tokens, table, expected_out);
    embedding_backward(tokens, d_out, expected_d_table);
    const at::Tensor out = nans({2001, 768}, dtype);
    const at::Tensor d_table = nans({kVocab, 768}).zero_();
    embedding_forward(tokens, late(table), out);
    EXPECT_TRUE(out.equal(expected_out));
    embedding_backward(tokens, late(d_out), d_table);
    EXPECT_TRUE(d_table.equal(expected_d_table));
  }
}

TEST_F(EmbeddingOnGpu, TakesMoreElementsThanA32BitIndexHas) {
  constexpr int64_t kWidth = 2048;
  const int64_t vocab = (int64_t{1} << 31) / kWidth + 3;
  at::Tensor table;
  at::Tensor d_table;
  try {
    table = at::zeros({vocab, kWidth}, at::TensorOptions(device()).dtype(at::kBFloat16));
    d_table = at::zeros({vocab, kWidth}, at::TensorOptions(device()).dtype(at::kFloat));
  } catch (const c10::OutOfMemoryError&) {
    GTEST_SKIP() << "This GPU has no room for 13 GB.";
  }
  const at::Tensor last = normal({3, kWidth}, 1.0, at::kBFloat16);
  table.narrow(0, vocab - 3, 3).copy_(last);
  // One of the last tokens occurs once, one forms a short run, and one a long run.
  const at::Tensor of_last = tokens_in_runs({1, 5, 100});
  const at::Tensor tokens = on_gpu(of_last + (vocab - 3));
  const at::Tensor out = nans({tokens.numel(), kWidth}, at::kBFloat16);
  embedding_forward(tokens, table, out);
  EXPECT_TRUE(fp64(out).equal(fp64(last.index_select(0, of_last))));

  const at::Tensor d_out = normal({tokens.numel(), kWidth}, 1.0, at::kBFloat16);
  embedding_backward(tokens, on_gpu(d_out, at::kBFloat16), d_table);
  expect_added(d_table.narrow(0, vocab - 3, 3), at::zeros({3, kWidth}, at::kFloat), of_last, d_out);
  for (const int64_t row : {int64_t{0}, vocab / 2, vocab - 4}) {
    EXPECT_TRUE(d_table[row].eq(0.0).all().item<bool>());
  }
}

}  // namespace
}  // namespace ssgpt::kernels
