// Whether what is read or written are numbers: a checkpoint with NaN in it is lost, and so is what goes on
// from it.
#pragma once

#include "checkpoint/state.h"

#include <optional>
#include <string>

namespace ssgpt::checkpoint {

// The first element of the weights, else of the moments, that is NaN or infinite: "tensor
// 'model.norm.weight' is nan at [3]", "the moment exp_avg of ..."; none where all are finite. `flat`: fp32 on
// the CPU; moments may be undefined, or a share of them. One pass over raw memory: enters no OpenMP region.
std::optional<std::string> first_nonfinite(const FlatState& flat);

}  // namespace ssgpt::checkpoint
