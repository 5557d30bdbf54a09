#include "optim/decay.h"

#include "core/check.h"

namespace ssgpt::optim {

std::vector<DecaySlice> decay_slices(std::span<const TensorExtent> extents, double weight_decay) {
  std::vector<DecaySlice> slices;
  for (const TensorExtent& extent : extents) {
    SSGPT_CHECK(slices.empty() || slices.back().end <= extent.offset,
                "extent at {} overlaps the one that ends at {}", extent.offset, slices.back().end);
    const double decay = extent.rank >= 2 ? weight_decay : 0.0;
    if (!slices.empty() && slices.back().end == extent.offset && slices.back().weight_decay == decay) {
      slices.back().end += extent.numel;
    } else {
      slices.push_back({.begin = extent.offset, .end = extent.offset + extent.numel, .weight_decay = decay});
    }
  }
  return slices;
}

}  // namespace ssgpt::optim
