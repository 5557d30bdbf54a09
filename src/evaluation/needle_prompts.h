// The trials of a needle in a haystack, as tokens: a pure function of the text, the tokenizer and a seed, the
// same for every model.
#pragma once

#include "evaluation/haystack.h"
#include "evaluation/needle_text.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

// Per length and depth. All trials are made before a model is read; with this many, the standard error of a
// share of right answers is at most half a per cent.
inline constexpr int64_t kMaxNeedleTrials = 10'000;

struct NeedleSettings {
  std::vector<int64_t> lengths;  // in tokens, question and answer included
  std::vector<int64_t> depths;   // in per cent: 0 is the front, 100 directly before the question
  int64_t trials = 0;            // per length and depth
  uint64_t seed = 1;
  int64_t distractors = 9;     // wrong numbers that the right one is scored against
  int64_t answer_tokens = 10;  // part of a length that is left for the answer
  std::string prompt = std::string(prompt_template(NeedlePromptStyle::kContinue));  // see needle_question
};

struct NeedlePrompt {
  std::vector<int64_t> tokens;  // length - answer_tokens: the haystack with the needle in it, the question
  int64_t needle_first = 0;     // index in `tokens` of the needle's begin
  int64_t needle_tokens = 0;    // length of the needle
  int64_t haystack_tokens = 0;  // without the needle
  std::string city;
  std::string number;
  std::vector<std::string> distractors;     // wrong numbers
  std::vector<int64_t> answer;              // the number's tokens after the question
  std::vector<std::vector<int64_t>> wrong;  // the same for each distractor
};

// Throws core::UsageError for lengths and depths that are missing, not ascending or out of range (lengths: 1
// to data::kMaxSyntheticLength), trials outside 1 to kMaxNeedleTrials, distractors outside 1 to 1000, fewer
// than 2 answer_tokens, and a prompt without {city}.
void check_settings(const NeedleSettings& settings);

class NeedlePrompts {
 public:
  // Makes every trial once. `haystack` and `tokenizer` must outlive this. `document_token_id`: the token used
  // by the models' document masking; nullopt if no model uses any. The haystack must not contain it.
  //
  // Throws what check_settings() throws; core::UsageError for a length that cannot hold needle, question,
  // answer and a haystack, for answer_tokens fewer than those of a number and the token after it, which shows
  // that it has ended, and for a needle, question or number that contains the token document_token_id;
  // core::InputError for text in which a trial finds no place for its needle, and for a tokenizer that joins
  // the number to the words before it.
  NeedlePrompts(const Haystack& haystack, const tokenizer::Tokenizer& tokenizer, NeedleSettings settings,
                int64_t vocab_size, std::optional<int64_t> document_token_id = std::nullopt);

  const NeedleSettings& settings() const { return settings_; }

  // A trial's haystack ends with a sentence, anywhere in the text. At a depth between 0 and 100 a sentence
  // also ends inside it, and the needle is put at the sentence end nearest to that share of its tokens. City,
  // number, distractors and haystack differ from trial to trial, at each length and depth.
  NeedlePrompt make(int64_t length, int64_t depth, int64_t trial) const;

 private:
  std::vector<int64_t> encode_behind(const std::string& context, const std::string& text) const;
  std::vector<int64_t> encode_number(const std::string& question, const std::string& number) const;
  // Place of a needle in the haystack's tokens from `begin` to `end`; nullopt if no sentence ends in between.
  std::optional<int64_t> place_needle(int64_t begin, int64_t end, int64_t depth) const;
  // `count` tokens of the haystack with a place for a needle. A stretch inside a long sentence has none: then
  // another one is drawn.
  struct Stretch {
    int64_t begin, place, end;
  };
  Stretch choose_stretch(int64_t count, int64_t depth, uint64_t key) const;

  const Haystack& haystack_;
  const tokenizer::Tokenizer& tokenizer_;
  const NeedleSettings settings_;
  const int64_t vocab_size_;
  const std::optional<int64_t> document_token_id_;
};

}  // namespace ssgpt::evaluation
