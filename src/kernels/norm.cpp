#include "kernels/dispatch.h"
#include "kernels/ops.h"

namespace ssgpt::kernels {
namespace {

constexpr int64_t kChunkRows = 64;

void check_norm(const at::Tensor& x, const char* name, const at::Tensor& weight, const at::Tensor& rstd) {
  SSGPT_CHECK(x.dim() == 2 && x.size(1) > 0, "{} has {} dimensions, expected (M, D) with D > 0", name,
              x.dim());
  check_tensor(x, name, x.scalar_type(), x.sizes());
  check_tensor(weight, "weight", x.scalar_type(), {x.size(1)});
  check_tensor(rstd, "rstd", at::kFloat, {x.size(0)});
}

}  // namespace

int64_t num_row_chunks(int64_t rows) {
  return (rows + kChunkRows - 1) / kChunkRows;
}

void rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
                      const at::Tensor& rstd) {
  check_norm(x, "x", weight, rstd);
  check_tensor(out, "out", x.scalar_type(), x.sizes());
  const int64_t width = x.size(1);
  with_loops(x.scalar_type(), [&](const auto& loops) {
    using T = DataOf<decltype(loops)>;
    for_rows(x.size(0), width, [&](int64_t begin, int64_t end) {
      loops.rms_norm_forward(pointer<T>(x) + begin * width, pointer<T>(weight), static_cast<float>(eps),
                             pointer<T>(out) + begin * width, pointer<float>(rstd) + begin, end - begin,
                             width);
    });
  });
}

void add_rms_norm_forward(const at::Tensor& residual, const at::Tensor& branch, const at::Tensor& weight,
                          double eps, const at::Tensor& sum, const at::Tensor& out, const at::Tensor& rstd) {
  check_norm(residual, "residual", weight, rstd);
  check_tensor(branch, "branch", residual.scalar_type(), residual.sizes());
  check_tensor(sum, "sum", residual.scalar_type(), residual.sizes());
  check_tensor(out, "out", residual.scalar_type(), residual.sizes());
  const int64_t width = residual.size(1);
  with_loops(residual.scalar_type(), [&](const auto& loops) {
    using T = DataOf<decltype(loops)>;
    for_rows(residual.size(0), width, [&](int64_t begin, int64_t end) {
      const int64_t from = begin * width;
      loops.add_rms_norm_forward(pointer<T>(residual) + from, pointer<T>(branch) + from, pointer<T>(weight),
                                 static_cast<float>(eps), pointer<T>(sum) + from, pointer<T>(out) + from,
                                 pointer<float>(rstd) + begin, end - begin, width);
    });
  });
}

void rms_norm_backward(const at::Tensor& d_out, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& rstd, const at::Tensor& d_x, const at::Tensor& d_weight,
                       const at::Tensor& scratch) {
  check_norm(x, "x", weight, rstd);
  const int64_t rows = x.size(0);
  const int64_t width = x.size(1);
  const int64_t chunks = num_row_chunks(rows);
  check_tensor(d_out, "d_out", x.scalar_type(), x.sizes());
  check_tensor(d_x, "d_x", x.scalar_type(), x.sizes());
  check_tensor(d_weight, "d_weight", at::kFloat, {width});
  check_tensor(scratch, "scratch", at::kFloat, {chunks, width});
  with_loops(x.scalar_type(), [&](const auto& loops) {
    using T = DataOf<decltype(loops)>;
    for_rows(chunks, kChunkRows * width, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t first = chunk * kChunkRows;
        const int64_t count = std::min(kChunkRows, rows - first);
        float* partial = pointer<float>(scratch) + chunk * width;
        std::fill_n(partial, width, 0.0f);
        loops.rms_norm_backward(pointer<T>(d_out) + first * width, pointer<T>(x) + first * width,
                                pointer<T>(weight), pointer<float>(rstd) + first,
                                pointer<T>(d_x) + first * width, partial, count, width);
      }
    });
  });
  float* total = pointer<float>(d_weight);
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const float* partial = pointer<float>(scratch) + chunk * width;
    for (int64_t i = 0; i < width; ++i) total[i] += partial[i];
  }
}

}  // namespace ssgpt::kernels
