// The positions of a parameter's moments in moments that hold some ranges of the flat tensor.
#pragma once

#include "checkpoint/state.h"

#include <cstdint>
#include <vector>

namespace ssgpt::checkpoint {

// The part of one parameter that the moments of a FlatState hold.
struct HeldPieces {
  std::vector<core::Range> elements;  // of the parameter: sorted, no two touch; empty where nothing is held
  int64_t position = 0;               // of the first of them in exp_avg; the others follow without a gap
};

HeldPieces held_pieces(const FlatState& flat, const model::Parameter& parameter);

}  // namespace ssgpt::checkpoint
