#include "evaluation/needle_text.h"

#include "core/text.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace ssgpt::evaluation {
namespace {

using namespace std::string_view_literals;

constexpr std::array kCities = {
    "Accra"sv,     "Amsterdam"sv,  "Athens"sv,    "Baghdad"sv,   "Bangkok"sv,  "Barcelona"sv,  "Beijing"sv,
    "Berlin"sv,    "Bogota"sv,     "Boston"sv,    "Brussels"sv,  "Budapest"sv, "Cairo"sv,      "Caracas"sv,
    "Chicago"sv,   "Copenhagen"sv, "Dakar"sv,     "Damascus"sv,  "Delhi"sv,    "Dublin"sv,     "Edinburgh"sv,
    "Geneva"sv,    "Hamburg"sv,    "Hanoi"sv,     "Havana"sv,    "Helsinki"sv, "Istanbul"sv,   "Jakarta"sv,
    "Jerusalem"sv, "Karachi"sv,    "Kiev"sv,      "Kyoto"sv,     "Lagos"sv,    "Lima"sv,       "Lisbon"sv,
    "London"sv,    "Madrid"sv,     "Manila"sv,    "Melbourne"sv, "Milan"sv,    "Montreal"sv,   "Moscow"sv,
    "Mumbai"sv,    "Munich"sv,     "Nairobi"sv,   "Naples"sv,    "Osaka"sv,    "Oslo"sv,       "Ottawa"sv,
    "Paris"sv,     "Prague"sv,     "Quito"sv,     "Rome"sv,      "Santiago"sv, "Seattle"sv,    "Seoul"sv,
    "Shanghai"sv,  "Singapore"sv,  "Stockholm"sv, "Sydney"sv,    "Tehran"sv,   "Tokyo"sv,      "Toronto"sv,
    "Tunis"sv,     "Vancouver"sv,  "Venice"sv,    "Vienna"sv,    "Warsaw"sv,   "Washington"sv, "Zurich"sv};

bool is_digit(char character) {
  return character >= '0' && character <= '9';
}

}  // namespace

std::span<const std::string_view> needle_cities() {
  return kCities;
}

std::string needle_sentence(std::string_view city, std::string_view number) {
  return fmt::format(" The special magic {} number is: {}.", city, number);
}

std::string_view prompt_template(NeedlePromptStyle style) {
  return style == NeedlePromptStyle::kContinue
             ? "\n\nThe special magic {city} number is:"
             : "\n\nQuestion: What is the special magic {city} number?\nAnswer:";
}

std::string needle_question(std::string_view prompt, std::string_view city) {
  return core::replace_all(prompt, "{city}", city);
}

NeedleAnswer judge_answer(std::string_view generated, std::string_view number) {
  const auto begin = std::find_if(generated.begin(), generated.end(), is_digit);
  const auto end = std::find_if_not(begin, generated.end(), is_digit);
  const std::string_view digits(begin, end);
  const auto differs = std::mismatch(digits.begin(), digits.end(), number.begin(), number.end()).first;
  return {.right = digits == number, .leading_digits = differs - digits.begin()};
}

}  // namespace ssgpt::evaluation
