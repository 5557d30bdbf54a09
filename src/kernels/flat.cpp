#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>

namespace ssgpt::kernels {
namespace {

// Adds what `sum` gives for each chunk of a fixed size, in order.
at::Tensor sum_of_chunks(const at::Tensor& flat, double (*sum)(const float* values, int64_t count)) {
  constexpr int64_t kChunk = 65536;
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
  return sum_of_chunks(flat, cpu::table().sum);
}

at::Tensor squared_norm(const at::Tensor& flat) {
  return sum_of_chunks(flat, cpu::table().sum_of_squares);
}

void adamw_update(const at::Tensor& master, const at::Tensor& grad, const at::Tensor& exp_avg,
                  const at::Tensor& exp_avg_sq, int64_t begin, int64_t end, double lr, double beta1,
                  double beta2, double eps, double weight_decay, int64_t step,
                  const at::Tensor& grad_factor) {
  const int64_t size = master.numel();
  check_tensor(master, "master", at::kFloat, {size});
  check_tensor(grad, "grad", at::kFloat, {size});
  check_tensor(exp_avg, "exp_avg", at::kFloat, {size});
  check_tensor(exp_avg_sq, "exp_avg_sq", at::kFloat, {size});
  SSGPT_CHECK(grad_factor.numel() == 1, "grad_factor has {} elements", grad_factor.numel());
  check_tensor(grad_factor, "grad_factor", at::kFloat, grad_factor.sizes());
  SSGPT_CHECK(0 <= begin && begin <= end && end <= size, "slice [{}, {}) of {} elements", begin, end, size);
  SSGPT_CHECK(step >= 1, "step {}", step);
  const float factor = *pointer<float>(grad_factor);
  if (!std::isfinite(factor)) return;
  // Computed in fp64 as PyTorch does: 1 - beta2^step of the first steps has few digits in fp32.
  const double bias1 = 1.0 - std::pow(beta1, static_cast<double>(step));
  const double bias2 = 1.0 - std::pow(beta2, static_cast<double>(step));
  const cpu::AdamWScalars scalars = {.one_minus_beta1 = static_cast<float>(1.0 - beta1),
                                     .beta2 = static_cast<float>(beta2),
                                     .one_minus_beta2 = static_cast<float>(1.0 - beta2),
                                     .keep = static_cast<float>(1.0 - lr * weight_decay),
                                     .step_size = static_cast<float>(lr / bias1),
                                     .inverse_sqrt_bias2 = static_cast<float>(1.0 / std::sqrt(bias2)),
                                     .eps = static_cast<float>(eps),
                                     .grad_factor = factor};
  for_rows(end - begin, 1, [&](int64_t first, int64_t last) {
    const int64_t offset = begin + first;
    cpu::table().adamw(pointer<float>(master) + offset, pointer<float>(grad) + offset,
                       pointer<float>(exp_avg) + offset, pointer<float>(exp_avg_sq) + offset, last - first,
                       scalars);
  });
}

}  // namespace ssgpt::kernels
