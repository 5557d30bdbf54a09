#include "evaluation/needle_prompts.h"

#include "core/error.h"
#include "core/random.h"
#include "core/text.h"
#include "data/synthetic.h"
#include "evaluation/rising.h"
#include "tokenizer/continuation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::evaluation {
namespace {

// Distinct numbers of kNeedleDigits digits, from the stream's bits from index `next` on.
std::vector<std::string> draw_numbers(uint64_t key, uint64_t next, size_t count) {
  constexpr uint64_t kLeast = 1'000'000;
  static_assert(kNeedleDigits == 7);
  std::vector<std::string> numbers;
  while (numbers.size() < count) {
    std::string number = fmt::format("{}", kLeast + core::random_bits(key, next++) % (9 * kLeast));
    if (std::find(numbers.begin(), numbers.end(), number) == numbers.end())
      numbers.push_back(std::move(number));
  }
  return numbers;
}

}  // namespace

void check_settings(const NeedleSettings& settings) {
  check_rising("--lengths", settings.lengths, 1, data::kMaxSyntheticLength);
  check_rising("--depths", settings.depths, 0, 100);
  if (settings.trials < 1 || settings.trials > kMaxNeedleTrials)
    throw core::UsageError("--trials {}: allowed are 1 to {}.", settings.trials, kMaxNeedleTrials);
  if (settings.distractors < 1 || settings.distractors > 1000)
    throw core::UsageError("--distractors {}: allowed are 1 to 1000.", settings.distractors);
  if (settings.answer_tokens < 2)
    throw core::UsageError("--answer-tokens {}: at least 2 are needed.", settings.answer_tokens);
  if (settings.prompt.find("{city}") == std::string::npos) {
    throw core::UsageError("--prompt: '{}' does not say {{city}}, whose number is asked for.",
                           settings.prompt);
  }
}

NeedlePrompts::NeedlePrompts(const Haystack& haystack, const tokenizer::Tokenizer& tokenizer,
                             NeedleSettings settings, int64_t vocab_size,
                             std::optional<int64_t> document_token_id)
    : haystack_(haystack),
      tokenizer_(tokenizer),
      settings_(std::move(settings)),
      vocab_size_(vocab_size),
      document_token_id_(document_token_id) {
  check_settings(settings_);
  for (const int64_t length : settings_.lengths) {
    for (const int64_t depth : settings_.depths) {
      for (int64_t trial = 0; trial < settings_.trials; ++trial) make(length, depth, trial);
    }
  }
}

// The tokens of `text` as they follow `context`, without the blank that some tokenizers put before every
// text.
std::vector<int64_t> NeedlePrompts::encode_behind(const std::string& context, const std::string& text) const {
  const auto ids = tokenizer::encode_behind(tokenizer_, context, tokenizer_.encode(context), text);
  if (!ids || ids->empty()) {
    throw core::InputError(
        "the tokenizer of these models joins '{}' to the '{}' before it: it is unknown where an answer "
        "begins",
        text, context);
  }
  const std::vector<int64_t> tokens(ids->begin(), ids->end());
  for (const int64_t token : tokens) {
    if (token >= vocab_size_) {
      throw core::InputError(
          "the tokenizer makes a token {} of '{}', and the models have {}: they do not belong together",
          token, text, vocab_size_);
    }
    if (token == document_token_id_) {
      throw core::UsageError(
          "'{}' holds the token {}, which ends a document, and these models do not attend across "
          "documents (data.reset_at_document): after it they do not see the needle. If it is the "
          "question, ask another one with --prompt.",
          core::excerpt(text), token);
    }
  }
  return tokens;
}

std::vector<int64_t> NeedlePrompts::encode_number(const std::string& question,
                                                  const std::string& number) const {
  std::vector<int64_t> tokens = encode_behind(question, " " + number);
  const auto count = static_cast<int64_t>(tokens.size());
  if (count >= settings_.answer_tokens) {
    throw core::UsageError(
        "--answer-tokens {}: the number {} takes {} tokens, and one more has to show that no digit follows; "
        "give {} or more.",
        settings_.answer_tokens, number, count, count + 1);
  }
  return tokens;
}

std::optional<int64_t> NeedlePrompts::place_needle(int64_t begin, int64_t end, int64_t depth) const {
  if (depth == 0) return begin;
  if (depth == 100) return end;
  return haystack_.nearest_sentence_end(begin, end, depth);
}

NeedlePrompts::Stretch NeedlePrompts::choose_stretch(int64_t count, int64_t depth, uint64_t key) const {
  constexpr uint64_t kTries = 256;
  for (uint64_t i = 0; i < kTries; ++i) {
    const int64_t end = haystack_.choose_end(count, core::random_bits(key, i));
    if (const auto place = place_needle(end - count, end, depth))
      return {.begin = end - count, .place = *place, .end = end};
  }
  throw core::InputError(
      "--data: no sentence ends inside the {} tokens of text of a trial, in {} places that were tried, "
      "so that its needle can only stand at depth 0 or 100; give longer --lengths.",
      count, kTries);
}

NeedlePrompt NeedlePrompts::make(int64_t length, int64_t depth, int64_t trial) const {
  const uint64_t key = core::stream_key(settings_.seed, fmt::format("needle/{}/{}/{}", length, depth, trial));
  NeedlePrompt prompt;
  prompt.city = needle_cities()[core::random_bits(key, 1) % needle_cities().size()];
  const std::string question = needle_question(settings_.prompt, prompt.city);
  for (const std::string& number : draw_numbers(key, 2, static_cast<size_t>(settings_.distractors) + 1)) {
    std::vector<int64_t> tokens = encode_number(question, number);
    if (prompt.number.empty()) {
      prompt.number = number;
      prompt.answer = std::move(tokens);
    } else {
      prompt.distractors.push_back(number);
      prompt.wrong.push_back(std::move(tokens));
    }
  }
  const std::vector<int64_t> needle = encode_behind(".", needle_sentence(prompt.city, prompt.number));
  const std::vector<int64_t> asked = encode_behind(".", question);
  prompt.needle_tokens = static_cast<int64_t>(needle.size());
  prompt.haystack_tokens =
      length - prompt.needle_tokens - static_cast<int64_t>(asked.size()) - settings_.answer_tokens;
  if (prompt.haystack_tokens < 1) {
    throw core::UsageError(
        "--lengths: {} tokens have no room for text: the needle takes {}, the question {} and the answer {}.",
        length, needle.size(), asked.size(), settings_.answer_tokens);
  }
  const auto [begin, place, end] =
      choose_stretch(prompt.haystack_tokens, depth, core::stream_key(key, "haystack"));
  prompt.needle_first = place - begin;
  const auto text = haystack_.tokens();
  prompt.tokens.assign(text.begin() + begin, text.begin() + place);
  prompt.tokens.insert(prompt.tokens.end(), needle.begin(), needle.end());
  prompt.tokens.insert(prompt.tokens.end(), text.begin() + place, text.begin() + end);
  prompt.tokens.insert(prompt.tokens.end(), asked.begin(), asked.end());
  return prompt;
}

}  // namespace ssgpt::evaluation
