#include "data/lenient_json.h"

#include <optional>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

// nullopt if the line stays as it is.
std::optional<std::string> strict(std::string_view line) {
  const auto found = as_strict_json(line, "\\ufdd0");
  if (found) {
    EXPECT_EQ(found->has_half_pair, found->text.find("\\ufdd0") != std::string::npos);
  }
  return found ? std::optional(found->text) : std::nullopt;
}

TEST(AsStrictJson, ReplacesNumbersThatDoNotFit) {
  EXPECT_EQ(strict("[18446744073709551616, 1]"), "[ 0 , 1]");
  EXPECT_EQ(strict("[-9223372036854775809]"), "[ 0 ]");
  EXPECT_EQ(strict("{\"a\":1e999,\"b\":-1.5E+400}"), "{\"a\": 0 ,\"b\": 0 }");
  EXPECT_EQ(strict("[NaN,Infinity,-Infinity]"), "[ 0 , 0 , 0 ]");
}

TEST(AsStrictJson, LeavesWhatFits) {
  for (const char* line :
       {"[18446744073709551615, -9223372036854775808, 1.5e300, -0, 0.5]", "{\"a\": true}", "",
        R"(["NaN 1e999 18446744073709551616", "\"NaN", "\\"])", R"(["\ud83d\ude00 \u00e9"])"}) {
    EXPECT_EQ(strict(line), std::nullopt) << line;
  }
}

TEST(AsStrictJson, MakesNoNumberOfWhatIsNone) {
  EXPECT_EQ(strict("[12NaN]"), "[12 0 ]");
  EXPECT_EQ(strict("[1e999x]"), "[ 0 x]");
  for (const char* line :
       {"[01]", "[1.]", "[.5]", "[-]", "[1e]", "[+1]", "[018446744073709551616]", "[nan]"}) {
    EXPECT_EQ(strict(line), std::nullopt) << line;
  }
}

TEST(AsStrictJson, MarksHalvesOfSurrogatePairs) {
  EXPECT_EQ(strict(R"(["x \ud83d"])"), R"(["x \ufdd0"])");
  EXPECT_EQ(strict(R"(["\uDE00 \\ud83d"])"), R"(["\ufdd0 \\ud83d"])");
  EXPECT_EQ(strict(R"(["\ud83d\ud83d\ude00"])"), R"(["\ufdd0\ud83d\ude00"])");
  EXPECT_EQ(strict(R"(["\ud83d\)"), R"(["\ufdd0\)");  // ends inside of an escape
}

}  // namespace
}  // namespace ssgpt::data
