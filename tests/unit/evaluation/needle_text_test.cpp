#include "evaluation/needle_text.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

TEST(NeedleWords, AreThoseOfThePaper) {
  EXPECT_EQ(needle_sentence("Tokyo", "8106422"), " The special magic Tokyo number is: 8106422.");
  EXPECT_EQ(needle_question(prompt_template(NeedlePromptStyle::kContinue), "Tokyo"),
            "\n\nThe special magic Tokyo number is:");
  EXPECT_EQ(needle_question(prompt_template(NeedlePromptStyle::kQuestion), "Oslo"),
            "\n\nQuestion: What is the special magic Oslo number?\nAnswer:");
  EXPECT_EQ(needle_question("{city}{city}, {other}", "Rome"), "RomeRome, {other}");
  const std::set<std::string_view> cities(needle_cities().begin(), needle_cities().end());
  EXPECT_EQ(cities.size(), needle_cities().size());
  EXPECT_GT(cities.size(), 50u);
  EXPECT_TRUE(cities.contains("Tokyo"));
}

struct AnswerCase {
  std::string generated;
  bool right;
  int64_t leading_digits;
};

TEST(NeedleAnswers, AreRightWhereTheFirstDigitsAreTheNumber) {
  const AnswerCase cases[] = {
      {" 8106422", true, 7},
      {" 8106422.\nThe", true, 7},
      {"8106422", true, 7},
      {" The number is 8106422, of course", true, 7},
      {" 8106423", false, 6},  // off by one
      {" 8106421.", false, 6},
      {" 9106422", false, 0},
      {" 810642", false, 6},  // short
      {" 810642.2", false, 6},
      {" 8", false, 1},
      {" 81064220", false, 7},  // long
      {" 810 6422", false, 3},
      {" 8,106,422", false, 1},
      {" 1234567 8106422", false, 0},
      {" Tokyo", false, 0},
      {"", false, 0},
      {"８１０６４２２", false, 0},  // digits of another script
  };
  for (const AnswerCase& one : cases) {
    const NeedleAnswer answer = judge_answer(one.generated, "8106422");
    EXPECT_EQ(answer.right, one.right) << one.generated;
    EXPECT_EQ(answer.leading_digits, one.leading_digits) << one.generated;
  }
}

}  // namespace
}  // namespace ssgpt::evaluation
