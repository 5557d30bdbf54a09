#include "kernels/dispatch.h"
#include "kernels/ops.h"

namespace ssgpt::kernels {
namespace {

void check_tokens(const at::Tensor& tokens, int64_t rows, int64_t vocab_size) {
  check_tensor(tokens, "tokens", at::kLong, {rows});
  const int64_t* token = pointer<int64_t>(tokens);
  for (int64_t row = 0; row < rows; ++row) {
    SSGPT_CHECK(token[row] >= 0 && token[row] < vocab_size, "token {} at row {} of a vocabulary of {}",
                token[row], row, vocab_size);
  }
}

}  // namespace

void embedding_forward(const at::Tensor& tokens, const at::Tensor& table, const at::Tensor& out) {
  SSGPT_CHECK(table.dim() == 2, "table has {} dimensions, expected (V, D)", table.dim());
  const int64_t rows = tokens.numel();
  const int64_t width = table.size(1);
  check_tokens(tokens, rows, table.size(0));
  check_tensor(table, "table", table.scalar_type(), table.sizes());
  check_tensor(out, "out", table.scalar_type(), {rows, width});
  with_loops(table.scalar_type(), [&](const auto& loops) {
    using T = DataOf<decltype(loops)>;
    for_rows(rows, width, [&](int64_t begin, int64_t end) {
      loops.embedding_forward(pointer<int64_t>(tokens) + begin, pointer<T>(table),
                              pointer<T>(out) + begin * width, end - begin, width);
    });
  });
}

void embedding_backward(const at::Tensor& tokens, const at::Tensor& d_out, const at::Tensor& d_table) {
  SSGPT_CHECK(d_table.dim() == 2, "d_table has {} dimensions, expected (V, D)", d_table.dim());
  const int64_t rows = tokens.numel();
  const int64_t width = d_table.size(1);
  check_tokens(tokens, rows, d_table.size(0));
  check_tensor(d_out, "d_out", d_out.scalar_type(), {rows, width});
  check_tensor(d_table, "d_table", at::kFloat, d_table.sizes());
  with_loops(d_out.scalar_type(), [&](const auto& loops) {
    using T = DataOf<decltype(loops)>;
    // Columns are split, not rows: two rows may have the same token. 64 columns keep threads out of each
    // other's cache lines.
    constexpr int64_t kColumns = 64;
    for_rows((width + kColumns - 1) / kColumns, kColumns * rows, [&](int64_t begin, int64_t end) {
      loops.embedding_backward(pointer<int64_t>(tokens), pointer<T>(d_out), pointer<float>(d_table), rows,
                               width, begin * kColumns, std::min(width, end * kColumns));
    });
  });
}

}  // namespace ssgpt::kernels
