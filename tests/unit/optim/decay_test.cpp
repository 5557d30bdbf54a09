#include "optim/decay.h"

#include "core/check.h"

#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::optim {
namespace {

TEST(DecaySlices, DecayMatricesAndLeaveVectorsAndGapsOut) {
  const std::vector<TensorExtent> extents = {{.offset = 0, .numel = 100, .rank = 2},
                                             {.offset = 128, .numel = 8, .rank = 1},
                                             {.offset = 160, .numel = 64, .rank = 2},
                                             {.offset = 224, .numel = 64, .rank = 3},
                                             {.offset = 288, .numel = 32, .rank = 1}};
  const std::vector<DecaySlice> slices = decay_slices(extents, 0.1);
  ASSERT_EQ(slices.size(), 4U);
  const auto expect = [&](size_t i, int64_t begin, int64_t end, double decay) {
    EXPECT_EQ(slices[i].begin, begin);
    EXPECT_EQ(slices[i].end, end);
    EXPECT_EQ(slices[i].weight_decay, decay);
  };
  expect(0, 0, 100, 0.1);
  expect(1, 128, 136, 0.0);
  expect(2, 160, 288, 0.1);  // two that touch and decay alike
  expect(3, 288, 320, 0.0);
}

TEST(DecaySlices, OverlappingExtentsAreADefect) {
  const std::vector<TensorExtent> extents = {{.offset = 0, .numel = 100, .rank = 2},
                                             {.offset = 99, .numel = 8, .rank = 1}};
  EXPECT_THROW(decay_slices(extents, 0.1), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::optim
