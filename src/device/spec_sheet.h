// What GPUs reach by their makers' spec sheets.
#pragma once

#include "config/config.h"

#include <optional>
#include <string_view>

namespace ssgpt::device {

// Peak of dense products in FLOP/s: of bfloat16 on tensor cores with sums in fp32, or of fp32 without TF32,
// at the boost clock. `name` as CUDA gives it, "NVIDIA H100 80GB HBM3". None for a GPU that is not known, and
// for a part (MIG, vGPU) or another cut (laptop, Ti, D) of one that is.
std::optional<double> dense_peak_flops(std::string_view name, config::Dtype dtype);

}  // namespace ssgpt::device
