#include "core/variables.h"

#include "core/error.h"
#include "core/message_of.h"

#include <cstdlib>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

constexpr const char* kName = "SSGPT_VARIABLE_OF_A_TEST";

class VariablesTest : public testing::Test {
 protected:
  void TearDown() override { unsetenv(kName); }
  static void set(const char* value) { setenv(kName, value, /*overwrite=*/1); }
};

TEST_F(VariablesTest, AnEmptyOneIsAsGoodAsNone) {
  for (int round = 0; round < 2; ++round) {
    EXPECT_FALSE(find_variable(kName) || find_number_variable(kName, 1, 2) ||
                 find_choice_variable(kName, {"a", "b"}));
    set("");
  }
}

TEST_F(VariablesTest, NumbersAreWholeAndWithinTheirLimits) {
  for (const char* value : {"-2", "0", "7"}) {
    set(value);
    EXPECT_EQ(find_number_variable(kName, -2, 7), std::atoi(value));
  }
  for (const char* value : {"-3", "8", "1.5", "7x", " 7", "99999999999999999999"}) {
    set(value);
    EXPECT_EQ(message_of<UsageError>([] { find_number_variable(kName, -2, 7); }),
              fmt::format("The environment variable SSGPT_VARIABLE_OF_A_TEST={} is not a whole number from "
                          "-2 to 7.",
                          value));
  }
}

TEST_F(VariablesTest, ChoicesAreNamedWhereItIsNoneOfThem) {
  set("b");
  EXPECT_EQ(find_choice_variable(kName, {"a", "b"}), "b");
  set("B");
  EXPECT_EQ(message_of<UsageError>([] {
              find_choice_variable(kName, {"a", "b"});
            }),
            "The environment variable SSGPT_VARIABLE_OF_A_TEST=B is none of: a, b.");
}

}  // namespace
}  // namespace ssgpt::core
