#include "optim/slices.h"

#include "core/check.h"

#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::optim {
namespace {

TEST(UpdateSlices, DecayMatricesAndLeaveVectorsAndGapsOut) {
  const std::vector<TensorExtent> extents = {{.offset = 0, .numel = 100, .rank = 2},
                                             {.offset = 128, .numel = 8, .rank = 1},
                                             {.offset = 160, .numel = 64, .rank = 2},
                                             {.offset = 224, .numel = 64, .rank = 3},
                                             {.offset = 288, .numel = 32, .rank = 1}};
  const std::vector<UpdateSlice> slices = update_slices(extents, 0.1);
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

TEST(UpdateSlices, KeepTensorsOfAnotherRateApart) {
  const std::vector<TensorExtent> extents = {
      {.offset = 0, .numel = 32, .rank = 1},
      {.offset = 32, .numel = 32, .rank = 1, .lr_multiplier = 3.0},
      {.offset = 64, .numel = 32, .rank = 1, .lr_multiplier = 3.0},
      {.offset = 96, .numel = 32, .rank = 2, .lr_multiplier = 3.0},
      {.offset = 128, .numel = 32, .rank = 2},
  };
  std::vector<std::vector<double>> slices;
  for (const UpdateSlice& slice : update_slices(extents, 0.1)) {
    slices.push_back({static_cast<double>(slice.begin), static_cast<double>(slice.end), slice.weight_decay,
                      slice.lr_multiplier});
  }
  const std::vector<std::vector<double>> expected = {
      {0, 32, 0.0, 1.0}, {32, 96, 0.0, 3.0}, {96, 128, 0.1, 3.0}, {128, 160, 0.1, 1.0}};
  EXPECT_EQ(slices, expected);
}

TEST(UpdateSlices, OverlappingExtentsAreADefect) {
  const std::vector<TensorExtent> extents = {{.offset = 0, .numel = 100, .rank = 2},
                                             {.offset = 99, .numel = 8, .rank = 1}};
  EXPECT_THROW(update_slices(extents, 0.1), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::optim
