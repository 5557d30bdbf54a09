// The words of a needle in a haystack: "The special magic Tokyo number is: 8106422." (Nakanishi 2025, arXiv
// 2501.19399, figure 6), what asks for it, and what counts as an answer. Knows no tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ssgpt::evaluation {

// Of the number that is looked for, all of them digits, the first no zero.
inline constexpr int64_t kNeedleDigits = 7;

// Names of cities, of which a needle has one.
std::span<const std::string_view> needle_cities();

// With the blank before it that it has behind another sentence.
std::string needle_sentence(std::string_view city, std::string_view number);

// How a prompt asks for the number.
//   kContinue: the needle's own words up to the number, as a paragraph of its own, for models that continue
//     text: what they were trained on holds nothing else to go by.
//   kQuestion: "Question: What is the special magic Tokyo number?" and "Answer:", as sets of questions about
//   a
//     text have it, for models that were fine-tuned on one. The wording of the paper's own question is not
//     known to us.
enum class NeedlePromptStyle { kContinue, kQuestion };

// The text behind the haystack with "{city}" in the city's place. A number follows it after a blank.
std::string_view prompt_template(NeedlePromptStyle style);

// `prompt` with `city` in place of each "{city}".
std::string needle_question(std::string_view prompt, std::string_view city);

struct NeedleAnswer {
  bool right = false;
  int64_t leading_digits = 0;  // of the number, that the answer has from the first on; 7 where it is right
};

// The first digits in `generated` that follow each other are its answer; it is right where they are `number`,
// no fewer and no more. Digits are ASCII.
NeedleAnswer judge_answer(std::string_view generated, std::string_view number);

}  // namespace ssgpt::evaluation
