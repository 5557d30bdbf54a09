// Which elements of a flat tensor decay. Knows extents, not models.
#pragma once

#include "optim/adamw.h"

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::optim {

// Where one tensor of a layout stands in the flat tensor, and its number of dimensions.
struct TensorExtent {
  int64_t offset = 0;  // elements
  int64_t numel = 0;
  int64_t rank = 0;
};

// Slices for AdamW: `weight_decay` on tensors of rank 2 and above, 0 on the others (norms, s, b, p_n).
// Extents are sorted and disjoint; those that touch and decay alike become one slice.
std::vector<DecaySlice> decay_slices(std::span<const TensorExtent> extents, double weight_decay);

}  // namespace ssgpt::optim
