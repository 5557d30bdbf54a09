#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <ATen/ops/clamp.h>
#include <ATen/ops/sort.h>

namespace ssgpt::kernels {
namespace {

// Checks the shape and, on a CPU, the values.
void check_tokens(const at::Tensor& tokens, int64_t rows, int64_t vocab_size, at::Device device) {
  check_tensor(tokens, "tokens", at::kLong, {rows}, device);
  if (!device.is_cpu()) return;
  const int64_t* token = pointer<int64_t>(tokens);
  for (int64_t row = 0; row < rows; ++row) {
    SSGPT_CHECK(token[row] >= 0 && token[row] < vocab_size, "token {} at row {} of a vocabulary of {}",
                token[row], row, vocab_size);
  }
}

// The stable sort keeps the rows of equal tokens in their original order, which fixes the order of the sums.
// int32 holds every token of a vocabulary and sorts in half the time of int64.
template <typename Kernels>
void embedding_backward_on_gpu(const Kernels& kernels, const at::Tensor& tokens, const at::Tensor& d_out,
                               const at::Tensor& d_table, cuda::Stream stream) {
  // Invalid tokens become values that the kernels skip.
  const at::Tensor narrow = at::clamp(tokens, -1, d_table.size(0)).to(at::kInt);
  const auto [sorted, order] = at::sort(narrow, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  using T = DataOf<Kernels>;
  kernels.embedding_backward(pointer<int32_t>(sorted), pointer<int64_t>(order), pointer<T>(d_out),
                             pointer<float>(d_table), tokens.numel(), d_table.size(1), d_table.size(0),
                             stream);
}

}  // namespace

void embedding_forward(const at::Tensor& tokens, const at::Tensor& table, const at::Tensor& out) {
  SSGPT_CHECK(table.dim() == 2, "table has {} dimensions, expected (V, D)", table.dim());
  const int64_t rows = tokens.numel();
  const int64_t width = table.size(1);
  const at::Device device = table.device();
  check_tokens(tokens, rows, table.size(0), device);
  check_tensor(table, "table", table.scalar_type(), table.sizes(), device);
  check_tensor(out, "out", table.scalar_type(), {rows, width}, device);
  dispatch(
      table,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(table, out);
        using T = DataOf<decltype(kernels)>;
        kernels.embedding_forward(pointer<int64_t>(tokens), pointer<T>(table), pointer<T>(out), rows, width,
                                  table.size(0), stream);
      },
      [&](const auto& loops) {
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
  const at::Device device = d_table.device();
  check_tokens(tokens, rows, d_table.size(0), device);
  check_tensor(d_out, "d_out", d_out.scalar_type(), {rows, width}, device);
  check_tensor(d_table, "d_table", at::kFloat, d_table.sizes(), device);
  dispatch(
      d_out,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(d_out, d_table);
        embedding_backward_on_gpu(kernels, tokens, d_out, d_table, stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        // Split by columns, not rows: two rows may have the same token. 64 columns avoid false sharing.
        constexpr int64_t kColumns = 64;
        for_rows((width + kColumns - 1) / kColumns, kColumns * rows, [&](int64_t begin, int64_t end) {
          loops.embedding_backward(pointer<int64_t>(tokens), pointer<T>(d_out), pointer<float>(d_table), rows,
                                   width, begin * kColumns, std::min(width, end * kColumns));
        });
      });
}

}  // namespace ssgpt::kernels
