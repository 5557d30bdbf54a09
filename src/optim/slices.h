// Weight decay and learning-rate multipliers of the elements of a flat tensor. Knows extents, not models.
#pragma once

#include "optim/adamw.h"

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::optim {

// Position of a tensor in the flat tensor, its number of dimensions, and its learning-rate multiplier.
struct TensorExtent {
  int64_t offset = 0;  // elements
  int64_t numel = 0;
  int64_t rank = 0;
  double lr_multiplier = 1.0;
};

// Slices for AdamW: `weight_decay` on tensors of rank 2 and above, 0 on the others (norms, s, b, p_n).
// Extents are sorted and disjoint; adjacent ones with equal decay and multiplier are merged into one slice.
std::vector<UpdateSlice> update_slices(std::span<const TensorExtent> extents, double weight_decay);

}  // namespace ssgpt::optim
