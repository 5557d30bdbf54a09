// The arithmetic of times in which collectives are under way; the streams' clock needs a GPU (tests/cuda).
#include "parallel/communication_clock.h"

#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

TEST(Covered, CountsTimeOnceInWhichSeveralAreUnderWay) {
  EXPECT_EQ(covered({}), 0.0);
  EXPECT_EQ(covered({{.begin = 1.0, .end = 3.0}}), 2.0);
  EXPECT_EQ(covered({{.begin = 1.0, .end = 3.0}, {.begin = 2.0, .end = 5.0}}), 4.0);  // overlap
  EXPECT_EQ(covered({{.begin = 1.0, .end = 6.0}, {.begin = 2.0, .end = 4.0}}), 5.0);  // one inside
  EXPECT_EQ(covered({{.begin = 1.0, .end = 2.0}, {.begin = 4.0, .end = 5.0}}), 2.0);  // a gap
}

TEST(Covered, MeasuresFromAnyMomentOn) {
  EXPECT_EQ(covered({{.begin = -5.0, .end = -3.0}, {.begin = -4.0, .end = 1.0}}), 6.0);
  EXPECT_EQ(covered({{.begin = 2.0, .end = 2.0}, {.begin = 3.0, .end = 1.0}}), 0.0);  // nothing took place
}

}  // namespace
}  // namespace ssgpt::parallel
