// Whether what is read or written are numbers: a checkpoint with NaN in it is lost, and so is what goes on
// from it.
#pragma once

#include "checkpoint/state.h"

#include <optional>
#include <string>

namespace ssgpt::checkpoint {

// The first element of the weights, else of the moments, that is NaN or infinite, or of the second moments,
// which are means of squares, below zero: "tensor 'model.norm.weight' is nan at [3]", "the second moment
// (exp_avg_sq) of tensor ... is -0.5 at [3]"; none where there is none. `flat`: fp32 on
// the CPU; moments may be undefined, or a share of them. One pass over raw memory: enters no OpenMP region.
std::optional<std::string> first_invalid(const FlatState& flat);

}  // namespace ssgpt::checkpoint
