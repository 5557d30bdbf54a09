// Peak performance of GPUs according to their spec sheets.
#pragma once

#include "config/config.h"

#include <optional>
#include <string_view>

namespace ssgpt::device {

// Peak FLOP/s of dense matmuls at boost clock: bfloat16 on tensor cores with fp32 accumulation, or fp32
// without TF32. `name` as CUDA reports it: "NVIDIA H100 80GB HBM3". nullopt for an unknown GPU, and for a
// partition (MIG, vGPU) or a variant (laptop, Ti, D) of a known one.
std::optional<double> dense_peak_flops(std::string_view name, config::Dtype dtype);

}  // namespace ssgpt::device
