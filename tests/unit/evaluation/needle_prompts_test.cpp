// Trials beside what their text says, decoded: where sentences end, where the needle stands.

#include "evaluation/needle_prompts.h"

#include "core/error.h"
#include "core/message_of.h"
#include "evaluation/needle_trials.h"

#include <algorithm>
#include <cstdlib>
#include <regex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string text_of(const tokenizer::Tokenizer& tokenizer, std::span<const int64_t> tokens) {
  return tokenizer.decode(std::vector<int32_t>(tokens.begin(), tokens.end()));
}

// The ends of sentences in the text of one document, found in the text itself.
std::vector<int64_t> ends_by_text(const NeedleText& text, std::span<const int32_t> tokens) {
  static const std::regex kEnd("[.!?][\"')\\]]*$");
  std::vector<int64_t> ends;
  for (size_t place = 1; place <= tokens.size(); ++place) {
    const std::string before = text.tokenizer().decode(tokens.first(place));
    const std::string after = text.tokenizer().decode(tokens.subspan(place));
    const bool ended =
        std::regex_search(before.substr(before.size() - std::min<size_t>(8, before.size())), kEnd);
    if (ended && (after.empty() || after[0] == ' ' || after[0] == '\n'))
      ends.push_back(static_cast<int64_t>(place));
  }
  return ends;
}

TEST(Haystacks, KnowWhereSentencesEnd) {
  const NeedleText text({made_text(60, 1)});
  const std::vector<int64_t> expected = ends_by_text(text, text.tokens());
  const Haystack haystack = text.haystack(100);
  EXPECT_EQ(std::vector<int32_t>(haystack.tokens().begin(), haystack.tokens().end()), text.tokens());
  EXPECT_THAT(haystack.sentence_ends(), testing::ElementsAreArray(expected));
  EXPECT_GE(expected.size(), 60u);  // abbreviations may look like ends, too
}

TEST(Haystacks, EndASentenceWithADocumentAndLeaveItsTokenOut) {
  const NeedleText text({"no full stop here", "second one. And more", "a third"});
  const Haystack haystack = text.haystack(10);
  const auto length_of = [&](const char* part) {
    return static_cast<int64_t>(text.tokenizer().encode(part).size());
  };
  const int64_t first = length_of("no full stop here");
  const int64_t second = first + length_of("second one. And more");
  EXPECT_THAT(haystack.sentence_ends(), testing::ElementsAre(first, first + length_of("second one."), second,
                                                             static_cast<int64_t>(text.tokens().size())));
  EXPECT_THAT(haystack.tokens(), testing::Each(testing::Ne(NeedleText::kDocumentEnd)));
}

TEST(Haystacks, ChooseAmongAllEndsThatAreFarEnough) {
  const NeedleText text({made_text(30, 2)});
  const Haystack haystack = text.haystack(50);
  const auto ends = haystack.sentence_ends();
  std::set<int64_t> chosen;
  for (uint64_t bits = 0; bits < 200; ++bits) chosen.insert(haystack.choose_end(ends[3], bits));
  EXPECT_EQ(chosen, std::set<int64_t>(ends.begin() + 3, ends.end()));
  EXPECT_EQ(haystack.choose_end(ends.back(), 5), ends.back());
  EXPECT_THAT(message_of<core::InputError>([&] { haystack.choose_end(ends.back() + 1, 5); }),
              HasSubstr("too few for a haystack of"));
}

TEST(Haystacks, WithoutTextOrSentencesAreRefused) {
  const auto refusal = [](const std::vector<std::string>& documents, std::optional<int64_t> document_end) {
    const NeedleText text(documents);
    return message_of<core::InputError>([&] {
      const Haystack haystack(text.source(), text.tokenizer(), NeedleText::kVocab, document_end, 10);
    });
  };
  EXPECT_THAT(refusal({"words and words 3.14 and a.b"}, std::nullopt), HasSubstr("no sentence ends"));
  EXPECT_THAT(refusal({"", ""}, 2), HasSubstr("no sentence ends in its 2 tokens"));
  EXPECT_EQ(refusal({"words. And words"}, std::nullopt), "nothing was thrown");
  const NeedleText text({"words."});
  EXPECT_THROW(Haystack(text.source(), text.tokenizer(), /*vocab_size=*/20, 2, 10), core::InputError);
}

TEST(Haystacks, FindTheNearestEnd) {
  const NeedleText text({made_text(80, 3)});
  const Haystack haystack = text.haystack(50);
  const auto ends = haystack.sentence_ends();
  for (int64_t begin = 3; begin < 40; begin += 7) {
    const int64_t end = begin + 250;
    for (int64_t per_cent = 1; per_cent < 100; ++per_cent) {
      std::optional<int64_t> expected;
      double least = 1e9;
      for (const int64_t place : ends) {
        const double exact = static_cast<double>(begin) + static_cast<double>(per_cent) * 2.5;
        const double distance = std::abs(static_cast<double>(place) - exact);
        if (place <= begin || place >= end || distance >= least - 1e-9) continue;
        least = distance;
        expected = place;
      }
      EXPECT_EQ(haystack.nearest_sentence_end(begin, end, per_cent), expected) << begin << " " << per_cent;
    }
  }
  EXPECT_EQ(haystack.nearest_sentence_end(ends[4], ends[5], 50), std::nullopt);
  EXPECT_EQ(haystack.nearest_sentence_end(ends[4], ends[5] + 1, 1), ends[5]);
}

class NeedlePromptsTest : public testing::Test {
 protected:
  NeedlePrompts make(NeedleSettings settings) const {
    return {haystack_, text_.tokenizer(), std::move(settings), NeedleText::kVocab};
  }
  template <typename Error>
  std::string refusal(NeedleSettings settings) const {
    return message_of<Error>([&] { make(std::move(settings)); });
  }
  const NeedleText text_{{made_text(150, 4), made_text(150, 5)}};
  const Haystack haystack_ = text_.haystack(1000);
  const NeedleSettings settings_{
      .lengths = {160, 233, 400}, .depths = {0, 10, 33, 50, 99, 100}, .trials = 5, .seed = 3};
};

TEST_F(NeedlePromptsTest, HaveTheNeedleExactlyWhereTheySay) {
  const NeedlePrompts prompts = make(settings_);
  const auto ends = haystack_.sentence_ends();
  const std::vector<int32_t>& all = text_.tokens();
  for (const int64_t length : settings_.lengths) {
    for (const int64_t depth : settings_.depths) {
      for (int64_t trial = 0; trial < settings_.trials; ++trial) {
        const NeedlePrompt prompt = prompts.make(length, depth, trial);
        const std::span<const int64_t> tokens(prompt.tokens);
        ASSERT_EQ(static_cast<int64_t>(tokens.size()), length - settings_.answer_tokens);
        const auto first = static_cast<size_t>(prompt.needle_first);
        const auto behind = first + static_cast<size_t>(prompt.needle_tokens);
        EXPECT_EQ(text_of(text_.tokenizer(), tokens.subspan(first, behind - first)),
                  needle_sentence(prompt.city, prompt.number));
        // Without the needle and the question, what remains is a stretch of the text that ends with a
        // sentence.
        std::vector<int32_t> rest(tokens.begin(), tokens.begin() + prompt.needle_first);
        rest.insert(rest.end(), tokens.begin() + static_cast<int64_t>(behind), tokens.end());
        const auto haystack = static_cast<size_t>(prompt.haystack_tokens);
        EXPECT_EQ(text_of(text_.tokenizer(), tokens.last(rest.size() - haystack)),
                  needle_question(settings_.prompt, prompt.city));
        rest.resize(haystack);
        const auto found = std::search(all.begin(), all.end(), rest.begin(), rest.end());
        ASSERT_NE(found, all.end());
        const int64_t begin = found - all.begin();
        const int64_t end = begin + prompt.haystack_tokens;
        EXPECT_TRUE(std::binary_search(ends.begin(), ends.end(), end));
        const int64_t place = begin + prompt.needle_first;
        if (depth == 0) {
          EXPECT_EQ(place, begin);
        } else if (depth == 100) {
          EXPECT_EQ(place, end);
        } else {
          EXPECT_EQ(place, haystack_.nearest_sentence_end(begin, end, depth));
        }
      }
    }
  }
}

TEST_F(NeedlePromptsTest, DifferFromTrialToTrialAndAreAlwaysTheSame) {
  const NeedlePrompts prompts = make(settings_);
  const NeedlePrompts again = make(settings_);
  std::set<std::string> numbers;
  std::set<std::vector<int64_t>> texts;
  for (int64_t trial = 0; trial < settings_.trials; ++trial) {
    for (const int64_t depth : settings_.depths) {
      const NeedlePrompt prompt = prompts.make(233, depth, trial);
      EXPECT_EQ(prompt.tokens, again.make(233, depth, trial).tokens);
      numbers.insert(prompt.number);
      texts.insert(prompt.tokens);
      ASSERT_EQ(prompt.number.size(), 7u);
      EXPECT_NE(prompt.number[0], '0');
      ASSERT_EQ(prompt.wrong.size(), 9u);
      std::set<std::vector<int64_t>> all(prompt.wrong.begin(), prompt.wrong.end());
      all.insert(prompt.answer);
      EXPECT_EQ(all.size(), 10u);
      EXPECT_EQ(text_of(text_.tokenizer(), prompt.answer), " " + prompt.number);
    }
  }
  EXPECT_EQ(numbers.size(), 30u);
  EXPECT_EQ(texts.size(), 30u);
  NeedleSettings other = settings_;
  other.seed = 4;
  EXPECT_NE(make(other).make(233, 50, 0).number, prompts.make(233, 50, 0).number);
}

TEST_F(NeedlePromptsTest, TakeAnotherQuestion) {
  NeedleSettings settings = settings_;
  settings.prompt = prompt_template(NeedlePromptStyle::kQuestion);
  const NeedlePrompt prompt = make(settings).make(400, 50, 1);
  EXPECT_THAT(
      text_of(text_.tokenizer(), prompt.tokens),
      testing::EndsWith("\n\nQuestion: What is the special magic " + prompt.city + " number?\nAnswer:"));
}

TEST_F(NeedlePromptsTest, NothingIsTruncated) {
  // The shortest length that holds the longest of these needles and questions, and one token of text.
  NeedleSettings settings = settings_;
  settings.depths = {0, 100};
  int64_t shortest = 0;
  for (int64_t length = 20; shortest == 0 && length < 160; ++length) {
    settings.lengths = {length};
    const std::string message = refusal<core::UsageError>(settings);
    if (message == "nothing was thrown") {
      shortest = length;
    } else {
      EXPECT_THAT(message, AllOf(HasSubstr("have no room for text: the needle takes"),
                                 HasSubstr("and the answer 10")));
    }
  }
  settings.lengths = {shortest};
  const NeedlePrompts prompts = make(settings);
  int64_t least = shortest;
  for (int64_t trial = 0; trial < settings.trials; ++trial) {
    for (const int64_t depth : settings.depths)
      least = std::min(least, prompts.make(shortest, depth, trial).haystack_tokens);
  }
  EXPECT_GE(least, 1);
  settings.lengths = {160};
  settings.answer_tokens = 150;
  EXPECT_THAT(refusal<core::UsageError>(settings), HasSubstr("the answer 150"));
  settings.answer_tokens = 8;  // a blank and seven digits, and nothing behind them
  EXPECT_THAT(
      refusal<core::UsageError>(settings),
      AllOf(HasSubstr("--answer-tokens 8"), HasSubstr("takes 8 tokens"), HasSubstr("give 9 or more")));
  settings.answer_tokens = 9;
  EXPECT_EQ(refusal<core::UsageError>(settings), "nothing was thrown");
}

// A model whose attention ends with a token sees nothing before it.
TEST_F(NeedlePromptsTest, HoldNoTokenThatEndsADocument) {
  const tokenizer::Tokenizer& tokenizer = text_.tokenizer();
  const auto refusal_with = [&](int64_t token) {
    return message_of<core::UsageError>(
        [&] { const NeedlePrompts prompts(haystack_, tokenizer, settings_, NeedleText::kVocab, token); });
  };
  const std::string question = needle_question(settings_.prompt, std::string(needle_cities().front()));
  const int64_t paragraph = tokenizer.encode(question).front();
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{static_cast<int32_t>(paragraph)}), "\n\n");
  EXPECT_THAT(
      refusal_with(paragraph),
      AllOf(HasSubstr("number is:' holds the token " + std::to_string(paragraph)), HasSubstr("--prompt")));
  // In the needle alone: the full stop at its end.
  EXPECT_THAT(refusal_with(tokenizer.encode("5.").back()), HasSubstr(".' holds the token"));
  EXPECT_THAT(refusal_with(tokenizer.encode("5").back()), HasSubstr("holds the token"));
  EXPECT_EQ(refusal_with(NeedleText::kDocumentEnd), "nothing was thrown");
}

// Between 40 sentences and 40 others there is one that is longer than a haystack: those that lie in it are
// drawn anew.
TEST_F(NeedlePromptsTest, FindAPlaceWhereSomeSentencesAreLong) {
  const NeedleText text({made_text(1, 40) + std::string(2000, 'x') + ". " + made_text(2, 4)});
  const Haystack haystack = text.haystack(200);
  NeedleSettings settings = settings_;
  settings.lengths = {200};
  settings.depths = {50};
  settings.trials = 200;
  const NeedlePrompts prompts(haystack, text.tokenizer(), settings, NeedleText::kVocab);
  std::set<int64_t> places;
  for (int64_t trial = 0; trial < settings.trials; ++trial) {
    const NeedlePrompt prompt = prompts.make(200, 50, trial);
    EXPECT_GT(prompt.needle_first, 0);
    EXPECT_LT(prompt.needle_first, prompt.haystack_tokens);
    places.insert(prompt.needle_first);
  }
  EXPECT_GT(places.size(), 10u);
}

TEST_F(NeedlePromptsTest, RefuseWhatCannotBeMeasured) {
  const auto with = [&](auto change) {
    NeedleSettings settings = settings_;
    change(settings);
    return refusal<core::UsageError>(settings);
  };
  EXPECT_THAT(with([](NeedleSettings& s) { s.lengths = {}; }), HasSubstr("--lengths: none"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.lengths = {400, 160}; }), HasSubstr("160 comes after 400"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.depths = {}; }), HasSubstr("--depths: none"));
  EXPECT_THAT(with([](NeedleSettings& s) {
                s.depths = {50, 101};
              }),
              HasSubstr("--depths: 101 is not from 0"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.depths = {-1}; }), HasSubstr("--depths: -1"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.depths = {50, 50}; }), HasSubstr("ascending"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.trials = 0; }), HasSubstr("--trials 0: allowed are 1 to 10000"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.trials = kMaxNeedleTrials + 1; }), HasSubstr("--trials 10001"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.distractors = 0; }), HasSubstr("--distractors 0"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.answer_tokens = 1; }), HasSubstr("--answer-tokens 1"));
  EXPECT_THAT(with([](NeedleSettings& s) { s.prompt = "Which number?"; }), HasSubstr("{city}"));
  NeedleSettings settings = settings_;
  settings.lengths = {100'000};
  EXPECT_THAT(refusal<core::InputError>(settings), HasSubstr("too few for a haystack of"));
  // One sentence longer than the haystack: its end is no place inside of it.
  const NeedleText one({made_text(1, 6) + std::string(300, 'x') + "."});
  const Haystack haystack = one.haystack(200);
  settings.lengths = {200};
  settings.depths = {50};
  EXPECT_THAT(message_of<core::InputError>([&] {
                const NeedlePrompts prompts(haystack, one.tokenizer(), settings, NeedleText::kVocab);
              }),
              HasSubstr("no sentence ends inside the"));
}

}  // namespace
}  // namespace ssgpt::evaluation
