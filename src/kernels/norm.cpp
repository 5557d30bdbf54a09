#include "kernels/cuda/norm.h"

#include "kernels/dispatch.h"
#include "kernels/ops.h"

namespace ssgpt::kernels {
namespace {

constexpr int64_t kChunkRows = cuda::kNormChunkRows;

void check_norm(const at::Tensor& x, const char* name, const at::Tensor& weight, const at::Tensor& rstd) {
  SSGPT_CHECK(x.dim() == 2 && x.size(1) > 0, "{} has {} dimensions, expected (M, D) with D > 0", name,
              x.dim());
  check_tensor(x, name, x.scalar_type(), x.sizes(), x.device());
  check_tensor(weight, "weight", x.scalar_type(), {x.size(1)}, x.device());
  check_tensor(rstd, "rstd", at::kFloat, {x.size(0)}, x.device());
  if (!x.is_cuda()) return;
  const bool aligned = x.size(1) * x.element_size() % 16 == 0;
  const int64_t widest = aligned ? cuda::kWidestNorm : cuda::kWidestUnalignedNorm;
  SSGPT_CHECK(x.size(1) <= widest, "{} has rows of {} elements, on a GPU at most {}{}", name, x.size(1),
              widest, aligned ? "" : " where a row is not a multiple of 16 bytes");
}

void check_like(const at::Tensor& tensor, const char* name, const at::Tensor& x) {
  check_tensor(tensor, name, x.scalar_type(), x.sizes(), x.device());
}

}  // namespace

int64_t num_row_chunks(int64_t rows) {
  return (rows + kChunkRows - 1) / kChunkRows;
}

void rms_norm_forward(const at::Tensor& x, const at::Tensor& weight, double eps, const at::Tensor& out,
                      const at::Tensor& rstd) {
  check_norm(x, "x", weight, rstd);
  check_like(out, "out", x);
  const int64_t width = x.size(1);
  dispatch(
      x,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(x, weight, out);
        using T = DataOf<decltype(kernels)>;
        kernels.rms_norm_forward(pointer<T>(x), pointer<T>(weight), static_cast<float>(eps), pointer<T>(out),
                                 pointer<float>(rstd), x.size(0), width, stream);
      },
      [&](const auto& loops) {
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
  check_like(branch, "branch", residual);
  check_like(sum, "sum", residual);
  check_like(out, "out", residual);
  const int64_t width = residual.size(1);
  dispatch(
      residual,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(residual, branch, weight, sum, out);
        using T = DataOf<decltype(kernels)>;
        kernels.add_rms_norm_forward(pointer<T>(residual), pointer<T>(branch), pointer<T>(weight),
                                     static_cast<float>(eps), pointer<T>(sum), pointer<T>(out),
                                     pointer<float>(rstd), residual.size(0), width, stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        for_rows(residual.size(0), width, [&](int64_t begin, int64_t end) {
          const int64_t from = begin * width;
          loops.add_rms_norm_forward(pointer<T>(residual) + from, pointer<T>(branch) + from,
                                     pointer<T>(weight), static_cast<float>(eps), pointer<T>(sum) + from,
                                     pointer<T>(out) + from, pointer<float>(rstd) + begin, end - begin,
                                     width);
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
  check_like(d_out, "d_out", x);
  check_like(d_x, "d_x", x);
  check_tensor(d_weight, "d_weight", at::kFloat, {width}, x.device());
  check_tensor(scratch, "scratch", at::kFloat, {chunks, width}, x.device());
  dispatch(
      x,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(d_out, x, weight, d_x, scratch);
        using T = DataOf<decltype(kernels)>;
        kernels.rms_norm_backward(pointer<T>(d_out), pointer<T>(x), pointer<T>(weight), pointer<float>(rstd),
                                  pointer<T>(d_x), pointer<float>(d_weight), pointer<float>(scratch), rows,
                                  width, stream);
      },
      [&](const auto& loops) {
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
        add_chunks(pointer<float>(scratch), chunks, width, pointer<float>(d_weight));
      });
}

}  // namespace ssgpt::kernels
