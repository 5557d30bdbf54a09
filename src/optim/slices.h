// How the elements of a flat tensor decay and at which rate they learn. Knows extents, not models.
#pragma once

#include "optim/adamw.h"

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::optim {

// Where one tensor of a layout stands in the flat tensor, its number of dimensions, and its own factor of the
// learning rate.
struct TensorExtent {
  int64_t offset = 0;  // elements
  int64_t numel = 0;
  int64_t rank = 0;
  double lr_multiplier = 1.0;
};

// Slices for AdamW: `weight_decay` on tensors of rank 2 and above, 0 on the others (norms, s, b, p_n).
// Extents are sorted and disjoint; those that touch, decay alike and learn alike become one slice.
std::vector<UpdateSlice> update_slices(std::span<const TensorExtent> extents, double weight_decay);

}  // namespace ssgpt::optim
