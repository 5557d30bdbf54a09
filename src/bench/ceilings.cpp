#include "bench/ceilings.h"

#include "bench/device_memory.h"
#include "model/device_timing.h"
#include "start/choose_device.h"

#include <algorithm>
#include <cstdint>

#include <ATen/ops/ones.h>
#include <fmt/format.h>

namespace ssgpt::bench {

Ceilings measure_ceilings(const model::Execution& execution) {
  constexpr int kCopies = 5;  // takes the best
  // fp32: 128 MiB, or 1 GiB for a GPU.
  const int64_t elements = int64_t{1} << (execution.device.is_cpu() ? 25 : 28);
  Ceilings ceilings;
  ceilings.product_flops = start::measure_peak_flops(execution);
  {
    const auto options = at::TensorOptions(execution.device).dtype(at::kFloat);
    const at::Tensor from = at::ones({elements}, options);
    const at::Tensor to = at::ones({elements}, options);
    const auto bytes = static_cast<double>(from.nbytes() + to.nbytes());
    ceilings.copy_bytes = bytes / model::fastest_call(execution.device, kCopies, [&] { to.copy_(from); });
  }
  release_device_memory(execution.device);
  return ceilings;
}

double least_seconds(const core::Work& work, const Ceilings& ceilings) {
  return std::max(work.flops / ceilings.product_flops, work.bytes / ceilings.copy_bytes);
}

std::string share_of_ceiling(const core::Work& work, double seconds, const Ceilings& ceilings) {
  if (seconds <= 0.0 || (work.flops <= 0.0 && work.bytes <= 0.0)) return "";
  const double product = work.flops / seconds / ceilings.product_flops;
  const double copy = work.bytes / seconds / ceilings.copy_bytes;
  return fmt::format("{:.0f} % {}", 100.0 * std::max(product, copy), product > copy ? "GEMM" : "copy");
}

}  // namespace ssgpt::bench
