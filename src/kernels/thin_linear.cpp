#include "kernels/dispatch.h"
#include "kernels/ops.h"

namespace ssgpt::kernels {

void thin_linear_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out) {
  SSGPT_CHECK(x.dim() == 2 && weight.dim() == 2, "x has {} dimensions and weight {}, expected 2", x.dim(),
              weight.dim());
  const int64_t rows = x.size(0);
  const int64_t inputs = x.size(1);
  const int64_t outputs = weight.size(0);
  const at::Device device = x.device();
  check_tensor(x, "x", x.scalar_type(), x.sizes(), device);
  check_tensor(weight, "weight", x.scalar_type(), {outputs, inputs}, device);
  const bool widen = out.scalar_type() == at::kFloat;
  check_tensor(out, "out", widen ? at::kFloat : x.scalar_type(), {rows, outputs}, device);
  dispatch(
      x,
      [&](const auto& /*kernels*/, cuda::Stream /*stream*/) {
        matrix_product(x, weight.t(), /*accumulate=*/false, out);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        // Threads take whole groups of four outputs, so that the loop which computes an output does not
        // depend on the number of threads.
        constexpr int64_t kGroup = 4;
        for_products((outputs + kGroup - 1) / kGroup, kGroup * rows * inputs,
                     [&](int64_t begin, int64_t end) {
                       const int64_t first = begin * kGroup;
                       const int64_t last = std::min(outputs, end * kGroup);
                       if (widen) {
                         loops.thin_linear_fp32(pointer<T>(x), pointer<T>(weight), pointer<float>(out), rows,
                                                inputs, outputs, first, last);
                       } else {
                         loops.thin_linear(pointer<T>(x), pointer<T>(weight), pointer<T>(out), rows, inputs,
                                           outputs, first, last);
                       }
                     });
      });
}

}  // namespace ssgpt::kernels
