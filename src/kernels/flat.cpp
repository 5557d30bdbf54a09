#include "kernels/dispatch.h"
#include "kernels/ops.h"

#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>

namespace ssgpt::kernels {
namespace {

constexpr int64_t kChunk = cuda::kFlatChunk;

// Returns the last output of `sum`, a kernel that reduces chunks to partial sums first.
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

// Adds the results of `sum` over chunks of fixed size, in order.
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

void adamw_on_cpu(const AdamWTensors& tensors, const AdamWSliceView& slice, const AdamWScalars& scalars,
                  float factor) {
  for_rows(slice.size, 1, [&](int64_t begin, int64_t end) {
    constexpr int64_t kPart = 8192;  // stays in the cache until it is rounded
    for (int64_t offset = begin; offset < end; offset += kPart) {
      const int64_t count = std::min(kPart, end - offset);
      const int64_t at = slice.begin + offset;
      const int64_t moment = slice.moment + offset;
      cpu::table().adamw(tensors.master + at, tensors.grad + at, tensors.exp_avg + moment,
                         tensors.exp_avg_sq + moment, count, scalars, slice.rates, factor);
      if (tensors.bf16_copy != nullptr) {
        cpu::table().round_to_bf16(tensors.master + at, tensors.bf16_copy + at, count);
      }
    }
  });
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
                  const at::Tensor& exp_avg_sq, const at::Tensor& bf16_copy,
                  const std::vector<AdamWSlice>& slices, const AdamWOptions& options, int64_t step,
                  const at::Tensor& grad_factor) {
  const int64_t size = master.numel();
  const int64_t moments = exp_avg.numel();
  const at::Device device = master.device();
  check_tensor(master, "master", at::kFloat, {size}, device);
  check_tensor(grad, "grad", at::kFloat, {size}, device);
  check_tensor(exp_avg, "exp_avg", at::kFloat, {moments}, device);
  check_tensor(exp_avg_sq, "exp_avg_sq", at::kFloat, {moments}, device);
  if (bf16_copy.defined()) check_tensor(bf16_copy, "bf16_copy", at::kBFloat16, {size}, device);
  SSGPT_CHECK(grad_factor.numel() == 1, "grad_factor has {} elements", grad_factor.numel());
  check_tensor(grad_factor, "grad_factor", at::kFloat, grad_factor.sizes(), device);
  SSGPT_CHECK(step >= 1, "step {}", step);
  // Computed in fp64 as PyTorch does: 1 - beta2^step of the first steps has few digits in fp32.
  const double bias1 = 1.0 - std::pow(options.beta1, static_cast<double>(step));
  const double bias2 = 1.0 - std::pow(options.beta2, static_cast<double>(step));
  const AdamWScalars scalars = {.one_minus_beta1 = static_cast<float>(1.0 - options.beta1),
                                .beta2 = static_cast<float>(options.beta2),
                                .one_minus_beta2 = static_cast<float>(1.0 - options.beta2),
                                .inverse_sqrt_bias2 = static_cast<float>(1.0 / std::sqrt(bias2)),
                                .eps = static_cast<float>(options.eps)};
  std::vector<AdamWSliceView> views;
  for (const AdamWSlice& slice : slices) {
    SSGPT_CHECK(slice.begin >= 0 && slice.moment >= 0 && slice.size >= 0 &&
                    slice.begin + slice.size <= size && slice.moment + slice.size <= moments,
                "{} elements from {} and moments from {}, of {} and {}", slice.size, slice.begin,
                slice.moment, size, moments);
    views.push_back({.begin = slice.begin,
                     .moment = slice.moment,
                     .size = slice.size,
                     .rates = {.keep = static_cast<float>(1.0 - slice.lr * slice.weight_decay),
                               .step_size = static_cast<float>(slice.lr / bias1)}});
  }
  const AdamWTensors tensors = {.master = pointer<float>(master),
                                .grad = pointer<float>(grad),
                                .exp_avg = pointer<float>(exp_avg),
                                .exp_avg_sq = pointer<float>(exp_avg_sq),
                                .bf16_copy = pointer<Bfloat16>(bf16_copy)};
  dispatch(
      device,
      [&] {
        cuda::table().adamw(tensors, views.data(), static_cast<int64_t>(views.size()), scalars,
                            pointer<float>(grad_factor), cuda::current_stream());
      },
      [&] {
        const float factor = *pointer<float>(grad_factor);
        if (!std::isfinite(factor)) return;
        for (const AdamWSliceView& slice : views) adamw_on_cpu(tensors, slice, scalars, factor);
      });
}

}  // namespace ssgpt::kernels
