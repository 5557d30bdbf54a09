#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>

namespace ssgpt::kernels {
namespace {

constexpr int64_t kChunk = cuda::kFlatChunk;

// What `sum` puts into the last of its outputs, from partial sums of chunks.
at::Tensor sum_on_gpu(const at::Tensor& flat, void (*sum)(const float* flat, double* partial, double* result,
                                                          int64_t size, cuda::Stream stream)) {
  const int64_t size = flat.numel();
  check_tensor(flat, "flat", at::kFloat, {size}, flat.device());
  const at::TensorOptions options = flat.options().dtype(at::kDouble);
  const at::Tensor partial = at::empty({(size + kChunk - 1) / kChunk}, options);
  const at::Tensor result = at::empty({}, options);
  sum(pointer<float>(flat), pointer<double>(partial), pointer<double>(result), size, cuda::current_stream());
  return result;
}

// Adds what `sum` gives for each chunk of a fixed size, in order.
at::Tensor sum_of_chunks(const at::Tensor& flat, double (*sum)(const float* values, int64_t count)) {
  const int64_t size = flat.numel();
  check_tensor(flat, "flat", at::kFloat, {size});
  const int64_t chunks = (size + kChunk - 1) / kChunk;
  std::vector<double> partial(static_cast<size_t>(chunks));
  for_rows(chunks, kChunk, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk;
      partial[static_cast<size_t>(chunk)] = sum(pointer<float>(flat) + first, std::min(kChunk, size - first));
    }
  });
  double total = 0.0;
  for (const double value : partial) total += value;
  const at::Tensor result = at::empty({}, at::kDouble);
  *pointer<double>(result) = total;
  return result;
}

}  // namespace

std::string_view instruction_set() {
  return cpu::table().name;
}

at::Tensor flat_sum(const at::Tensor& flat) {
  return dispatch(
      flat.device(), [&] { return sum_on_gpu(flat, cuda::table().flat_sum); },
      [&] { return sum_of_chunks(flat, cpu::table().sum); });
}

at::Tensor squared_norm(const at::Tensor& flat) {
  return dispatch(
      flat.device(), [&] { return sum_on_gpu(flat, cuda::table().squared_norm); },
      [&] { return sum_of_chunks(flat, cpu::table().sum_of_squares); });
}

void adamw_update(const at::Tensor& master, const at::Tensor& grad, const at::Tensor& exp_avg,
                  const at::Tensor& exp_avg_sq, const at::Tensor& shadow, double lr, double beta1,
                  double beta2, double eps, double weight_decay, int64_t step,
                  const at::Tensor& grad_factor) {
  const int64_t size = master.numel();
  const at::Device device = master.device();
  check_tensor(master, "master", at::kFloat, {size}, device);
  check_tensor(grad, "grad", at::kFloat, {size}, device);
  check_tensor(exp_avg, "exp_avg", at::kFloat, {size}, device);
  check_tensor(exp_avg_sq, "exp_avg_sq", at::kFloat, {size}, device);
  if (shadow.defined()) check_tensor(shadow, "shadow", at::kBFloat16, {size}, device);
  SSGPT_CHECK(grad_factor.numel() == 1, "grad_factor has {} elements", grad_factor.numel());
  check_tensor(grad_factor, "grad_factor", at::kFloat, grad_factor.sizes(), device);
  SSGPT_CHECK(step >= 1, "step {}", step);
  // Computed in fp64 as PyTorch does: 1 - beta2^step of the first steps has few digits in fp32.
  const double bias1 = 1.0 - std::pow(beta1, static_cast<double>(step));
  const double bias2 = 1.0 - std::pow(beta2, static_cast<double>(step));
  const AdamWScalars scalars = {.one_minus_beta1 = static_cast<float>(1.0 - beta1),
                                .beta2 = static_cast<float>(beta2),
                                .one_minus_beta2 = static_cast<float>(1.0 - beta2),
                                .keep = static_cast<float>(1.0 - lr * weight_decay),
                                .step_size = static_cast<float>(lr / bias1),
                                .inverse_sqrt_bias2 = static_cast<float>(1.0 / std::sqrt(bias2)),
                                .eps = static_cast<float>(eps)};
  const auto on_gpu = [&] {
    cuda::table().adamw(pointer<float>(master), pointer<float>(grad), pointer<float>(exp_avg),
                        pointer<float>(exp_avg_sq), pointer<Bfloat16>(shadow), size, scalars,
                        pointer<float>(grad_factor), cuda::current_stream());
  };
  const auto on_cpu = [&] {
    const float factor = *pointer<float>(grad_factor);
    if (!std::isfinite(factor)) return;
    for_rows(size, 1, [&](int64_t begin, int64_t end) {
      constexpr int64_t kPart = 8192;  // stays in the cache until it is rounded
      for (int64_t offset = begin; offset < end; offset += kPart) {
        const int64_t count = std::min(kPart, end - offset);
        cpu::table().adamw(pointer<float>(master) + offset, pointer<float>(grad) + offset,
                           pointer<float>(exp_avg) + offset, pointer<float>(exp_avg_sq) + offset, count,
                           scalars, factor);
        if (shadow.defined()) {
          cpu::table().round_to_bf16(pointer<float>(master) + offset, pointer<Bfloat16>(shadow) + offset,
                                     count);
        }
      }
    });
  };
  dispatch(device, on_gpu, on_cpu);
}

}  // namespace ssgpt::kernels
