#include "kernels/cuda/norm.h"

#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <vector>

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
                       const at::Tensor& rstd, bool accumulate, const at::Tensor& d_x,
                       const at::Tensor& weight_sums) {
  check_norm(x, "x", weight, rstd);
  const int64_t rows = x.size(0);
  const int64_t width = x.size(1);
  const int64_t chunks = num_row_chunks(rows);
  check_like(d_out, "d_out", x);
  check_like(d_x, "d_x", x);
  check_tensor(weight_sums, "weight_sums", at::kFloat, {chunks, width}, x.device());
  dispatch(
      x,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(d_out, x, weight, d_x, weight_sums);
        using T = DataOf<decltype(kernels)>;
        kernels.rms_norm_backward(pointer<T>(d_out), pointer<T>(x), pointer<T>(weight), pointer<float>(rstd),
                                  accumulate, pointer<T>(d_x), pointer<float>(weight_sums), rows, width,
                                  stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        for_rows(chunks, kChunkRows * width, [&](int64_t begin, int64_t end) {
          for (int64_t chunk = begin; chunk < end; ++chunk) {
            const int64_t first = chunk * kChunkRows;
            const int64_t count = std::min(kChunkRows, rows - first);
            float* sums = pointer<float>(weight_sums) + chunk * width;
            std::fill_n(sums, width, 0.0f);
            loops.rms_norm_backward(pointer<T>(d_out) + first * width, pointer<T>(x) + first * width,
                                    pointer<T>(weight), pointer<float>(rstd) + first, accumulate,
                                    pointer<T>(d_x) + first * width, sums, count, width);
          }
        });
      });
}

void add_row_sums(const std::vector<RowSums>& sums) {
  SSGPT_CHECK(!sums.empty() && sums.front().of_chunks.dim() == 2, "no sums of chunks");
  const at::IntArrayRef shape = sums.front().of_chunks.sizes();
  const at::Device device = sums.front().of_chunks.device();
  std::vector<RowSumsView> views;
  for (const RowSums& sum : sums) {
    check_tensor(sum.of_chunks, "of_chunks", at::kFloat, shape, device);
    check_tensor(sum.total, "total", at::kFloat, {shape[1]}, device);
    views.push_back({.of_chunks = pointer<float>(sum.of_chunks), .total = pointer<float>(sum.total)});
  }
  dispatch(
      device,
      [&] {
        cuda::table().add_row_sums(views.data(), static_cast<int64_t>(views.size()), shape[0], shape[1],
                                   cuda::current_stream());
      },
      [&] {
        for (const RowSumsView& sum : views) add_chunks(sum.of_chunks, shape[0], shape[1], sum.total);
      });
}

}  // namespace ssgpt::kernels
