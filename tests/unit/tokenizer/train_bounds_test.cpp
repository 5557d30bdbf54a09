#include "core/error.h"
#include "core/temporary_directory.h"
#include "tokenizer/corpus.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::tokenizer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(TrainBounds, TooFewBytesToLookAtAreNotTakenForAnEmptyText) {
  const TemporaryDirectory folder;
  for (const uint64_t max_bytes : {uint64_t{0}, uint64_t{10}, uint64_t{4175}}) {
    try {
      train(testing::source_of({testing::random_text(1, 5000)}), folder / "m.model",
            {.vocab_size = 500, .max_bytes = max_bytes});
      FAIL() << "accepted " << max_bytes;
    } catch (const core::UsageError& error) {
      EXPECT_THAT(error.what(),
                  AllOf(HasSubstr("--max-bytes " + std::to_string(max_bytes)), HasSubstr("4176")));
    }
  }
}

// The smallest size allowed holds the longest line there can be, whatever the seed.
TEST(TrainBounds, SmallestSizeAllowedFindsTextInAnyInput) {
  const TemporaryDirectory folder;
  const std::string line(20'000, 'x');
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    train(testing::source_of({line, line}), folder / "m.model",
          {.vocab_size = 264, .max_bytes = 4176, .seed = seed});
    EXPECT_EQ(Tokenizer(folder / "m.model").vocab_size(), 264);
  }
}

}  // namespace
}  // namespace ssgpt::tokenizer
