#include "optim/slices.h"

#include "core/check.h"

namespace ssgpt::optim {

std::vector<UpdateSlice> update_slices(std::span<const TensorExtent> extents, double weight_decay) {
  std::vector<UpdateSlice> slices;
  for (const TensorExtent& extent : extents) {
    SSGPT_CHECK(slices.empty() || slices.back().end <= extent.offset,
                "extent at {} overlaps the one that ends at {}", extent.offset, slices.back().end);
    const UpdateSlice slice = {.begin = extent.offset,
                               .end = extent.offset + extent.numel,
                               .weight_decay = extent.rank >= 2 ? weight_decay : 0.0,
                               .lr_multiplier = extent.lr_multiplier};
    const bool goes_on = !slices.empty() && slices.back().end == slice.begin &&
                         slices.back().weight_decay == slice.weight_decay &&
                         slices.back().lr_multiplier == slice.lr_multiplier;
    if (goes_on) {
      slices.back().end = slice.end;
    } else {
      slices.push_back(slice);
    }
  }
  return slices;
}

}  // namespace ssgpt::optim
