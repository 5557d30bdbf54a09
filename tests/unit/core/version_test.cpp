#include "core/version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

TEST(Version, NamesTheReleaseAndTheRevision) {
  EXPECT_THAT(version(), testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_THAT(git_revision(), testing::MatchesRegex("unknown|[0-9a-f]{12}(-dirty)?"));
}

}  // namespace
}  // namespace ssgpt::core
