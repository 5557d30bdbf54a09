// The wording of a needle in a haystack: "The special magic Tokyo number is: 8106422." (Nakanishi 2025, arXiv
// 2501.19399, figure 6), of the question, and what counts as an answer. Independent of tokens.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ssgpt::evaluation {

// Digits of the number to find; the first is not zero.
inline constexpr int64_t kNeedleDigits = 7;

// City names; each needle has one.
std::span<const std::string_view> needle_cities();

// With the leading blank that it has after another sentence.
std::string needle_sentence(std::string_view city, std::string_view number);

// How a prompt asks for the number.
//   kContinue: the needle's own words up to the number, as a separate paragraph, for models that continue
//     text: nothing else in what they were trained on tells them what to do.
//   kQuestion: "Question: What is the special magic Tokyo number?" and "Answer:", as in datasets of questions
//     about a text, for models fine-tuned on one. The wording of the paper's own question is not known to us.
enum class NeedlePromptStyle { kContinue, kQuestion };

// The text after the haystack, with "{city}" for the city. A number follows it after a blank.
std::string_view prompt_template(NeedlePromptStyle style);

// `prompt` with each "{city}" replaced by `city`.
std::string needle_question(std::string_view prompt, std::string_view city);

struct NeedleAnswer {
  bool right = false;
  int64_t leading_digits = 0;  // leading digits of the number that the answer has; 7 if it is right
};

// The answer is the first run of consecutive digits in `generated`; it is right if it is exactly `number`.
// Digits are ASCII.
NeedleAnswer judge_answer(std::string_view generated, std::string_view number);

}  // namespace ssgpt::evaluation
