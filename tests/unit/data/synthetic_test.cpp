// Sequences of the synthetic tasks, read again by parsers that know the grammar of data/synthetic.h alone.

#include "data/synthetic.h"

#include "core/error.h"
#include "data/fixtures.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using enum SyntheticTask;

constexpr int64_t kVocab = 64;

// The smallest p such that each token is the one p before it.
int64_t period_of(const std::vector<int32_t>& tokens) {
  const auto length = static_cast<int64_t>(tokens.size());
  for (int64_t period = 1; period < length; ++period) {
    if (std::equal(tokens.begin() + period, tokens.end(), tokens.begin())) return period;
  }
  return length;
}

int64_t num_answers(const TaskSequence& sequence) {
  return std::count(sequence.is_answer.begin(), sequence.is_answer.end(), 1);
}

// What a passkey sequence holds.
struct Passkeys {
  std::vector<int64_t> markers;  // where groups begin
  std::vector<int32_t> key;
  std::vector<int32_t> noise;
  std::vector<uint8_t> is_answer;
};

Passkeys parse_passkeys(const std::vector<int32_t>& tokens) {
  Passkeys found;
  found.is_answer.resize(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] != 0) {
      found.noise.push_back(tokens[i]);
      continue;
    }
    std::vector<int32_t> key;
    for (size_t k = i + 1; k < std::min(i + 5, tokens.size()); ++k) key.push_back(tokens[k]);
    EXPECT_EQ(key.size(), 4u) << "a group cut short at " << i;
    if (found.markers.empty()) {
      found.key = key;
    } else {
      EXPECT_EQ(key, found.key) << "another key at " << i;
      std::fill_n(found.is_answer.begin() + static_cast<int64_t>(i) + 1, key.size(), uint8_t{1});
    }
    found.markers.push_back(static_cast<int64_t>(i));
    i += 4;
  }
  return found;
}

TEST(CopyTask, TrainingRepeatsASegmentOfAnEighthToHalfOfTheLength) {
  for (const int64_t length : {10, 11, 255, 256}) {
    const int64_t least = (length + 7) / 8;
    std::map<int64_t, double> counts;
    constexpr int64_t kSequences = 4000;
    for (int64_t index = 0; index < kSequences; ++index) {
      const TaskSequence sequence = training_sequence(kCopy, kVocab, length, 1, index);
      ASSERT_EQ(sequence.tokens.size(), static_cast<size_t>(length));
      const int64_t period = period_of(sequence.tokens);
      // A short random segment may repeat in itself: its answers then begin later than those of the period.
      const auto first = std::find(sequence.is_answer.begin(), sequence.is_answer.end(), 1);
      const int64_t segment = first - sequence.is_answer.begin() - 4;
      ASSERT_EQ(segment % period, 0) << "index " << index;
      ASSERT_TRUE(segment >= least && segment <= length / 2) << segment;
      ASSERT_EQ(num_answers(sequence), std::max<int64_t>(0, length - segment - 4));
      if (length >= 255) {
        ASSERT_EQ(segment, period);
      }
      ++counts[segment];
    }
    // Each length as often as the others: five standard deviations of a binomial count.
    const double share = 1.0 / static_cast<double>(length / 2 - least + 1);
    for (int64_t segment = least; segment <= length / 2; ++segment) {
      EXPECT_NEAR(counts[segment], kSequences * share, 5.0 * std::sqrt(kSequences * share)) << segment;
    }
  }
}

TEST(CopyTask, TrialRepeatsHalfOfItOnceAndAsksFromTheFifthTokenOn) {
  for (const auto& [length, segment] :
       std::map<int64_t, int64_t>{{10, 5}, {11, 6}, {256, 128}, {1001, 501}, {16384, 8192}}) {
    for (int64_t index = 0; index < 5; ++index) {
      const TaskSequence sequence = trial_sequence(kCopy, kVocab, length, 3, index);
      ASSERT_EQ(sequence.tokens.size(), static_cast<size_t>(length));
      EXPECT_EQ(period_of(sequence.tokens), segment);
      for (int64_t i = 0; i < length; ++i) {
        ASSERT_EQ(sequence.is_answer[static_cast<size_t>(i)], i >= segment + 4 ? 1 : 0) << i;
      }
    }
  }
}

TEST(CopyTask, SymbolsAreUniformOverTheVocabulary) {
  std::map<int32_t, double> counts;
  int64_t drawn = 0;
  for (int64_t index = 0; index < 500; ++index) {
    const std::vector<int32_t> tokens = trial_sequence(kCopy, 37, 256, 1, index).tokens;
    for (int64_t i = 0; i < 128; ++i, ++drawn) ++counts[tokens[static_cast<size_t>(i)]];
  }
  ASSERT_EQ(counts.size(), 37u);
  EXPECT_EQ(counts.begin()->first, 0);
  const double expected = static_cast<double>(drawn) / 37.0;
  // Five standard deviations.
  for (const auto& [symbol, count] : counts)
    EXPECT_NEAR(count, expected, 5.0 * std::sqrt(expected)) << symbol;
}

TEST(PasskeyTask, EveryAnswerIsTheKeyThatStoodBefore) {
  for (const int64_t vocab : {9, 10, 64}) {
    const auto first_noise = static_cast<int32_t>(1 + (vocab - 1) / 2);
    for (int64_t index = 0; index < 500; ++index) {
      const int64_t length = 10 + index % 300;
      for (const TaskSequence& sequence : {training_sequence(kPasskey, vocab, length, 1, index),
                                           trial_sequence(kPasskey, vocab, length, 1, index)}) {
        ASSERT_EQ(sequence.tokens.size(), static_cast<size_t>(length));
        const Passkeys found = parse_passkeys(sequence.tokens);
        ASSERT_EQ(found.is_answer, sequence.is_answer);
        ASSERT_GE(found.markers.size(), 2u);
        EXPECT_EQ(std::set<int32_t>(found.key.begin(), found.key.end()).size(), 4u);
        for (const int32_t symbol : found.key) EXPECT_TRUE(symbol >= 1 && symbol < first_noise) << symbol;
        for (const int32_t symbol : found.noise) {
          ASSERT_TRUE(symbol >= first_noise && symbol < vocab) << symbol;
        }
      }
    }
  }
}

TEST(PasskeyTask, TrainingHasTwoToManyGroupsAnywhere) {
  constexpr int64_t kLength = 100;
  constexpr double kSequences = 4000.0;
  std::map<size_t, double> counts;
  std::map<int64_t, double> first_of_two;  // markers of sequences with two groups, by tenths of the length
  for (int64_t index = 0; index < static_cast<int64_t>(kSequences); ++index) {
    const Passkeys found = parse_passkeys(training_sequence(kPasskey, kVocab, kLength, 1, index).tokens);
    ++counts[found.markers.size()];
    if (found.markers.size() != 2) continue;
    for (const int64_t marker : found.markers) ++first_of_two[marker / 10];
  }
  // 2, 4, 8 and 16 groups, of 5 tokens each, each as often as the others: five standard deviations of a
  // binomial count.
  EXPECT_EQ(counts.size(), 4u);
  for (const size_t groups : {2, 4, 8, 16}) {
    EXPECT_NEAR(counts[groups], kSequences / 4.0, 5.0 * std::sqrt(kSequences / 4.0)) << groups;
  }
  // Two groups in 92 places: each is within every tenth but the last as often, to within what the edges do.
  EXPECT_EQ(first_of_two.size(), 10u);
  const double of_a_tenth = 2.0 * counts[2] / 9.6;  // the last marker stands at 95
  for (int64_t tenth = 0; tenth < 9; ++tenth) {
    EXPECT_NEAR(first_of_two[tenth], of_a_tenth, 0.05 * of_a_tenth + 5.0 * std::sqrt(of_a_tenth)) << tenth;
  }
}

TEST(PasskeyTask, TrialHasTheKeyOnceAtAnyDepth) {
  constexpr int64_t kLength = 30;
  constexpr double kTrials = 4000.0;
  std::map<int64_t, double> depths;
  std::map<int32_t, double> last_symbols;
  for (int64_t index = 0; index < static_cast<int64_t>(kTrials); ++index) {
    const TaskSequence trial = trial_sequence(kPasskey, kVocab, kLength, 1, index);
    const Passkeys found = parse_passkeys(trial.tokens);
    ASSERT_EQ(found.markers.size(), 2u);
    EXPECT_EQ(found.markers[1], kLength - 5);
    EXPECT_EQ(num_answers(trial), 4);
    ++depths[found.markers[0]];
    ++last_symbols[found.key.back()];
  }
  // 21 depths and 31 key symbols, each as often as the others: five standard deviations of a binomial count.
  EXPECT_EQ(depths.size(), 21u);
  for (int64_t depth = 0; depth <= 20; ++depth) {
    EXPECT_NEAR(depths[depth], kTrials / 21.0, 5.0 * std::sqrt(kTrials / 21.0)) << depth;
  }
  EXPECT_EQ(last_symbols.size(), 31u);
  for (const auto& [symbol, count] : last_symbols) {
    EXPECT_NEAR(count, kTrials / 31.0, 5.0 * std::sqrt(kTrials / 31.0)) << symbol;
  }
}

TEST(SyntheticTask, SequenceIsAFunctionOfItsArgumentsAndOfEachOfThem) {
  for (const SyntheticTaskRow& row : synthetic_tasks()) {
    const auto training = [&](uint64_t seed, int64_t index) {
      return training_sequence(row.task, kVocab, 64, seed, index).tokens;
    };
    const auto trial = [&](uint64_t seed, int64_t index) {
      return trial_sequence(row.task, kVocab, 64, seed, index).tokens;
    };
    EXPECT_EQ(training(1, 5), training(1, 5));
    EXPECT_EQ(trial(1, 5), trial(1, 5));
    std::set<std::vector<int32_t>> all;
    for (const uint64_t seed : {1u, 2u}) {
      for (int64_t index = 0; index < 200; ++index) {
        all.insert(training(seed, index));
        all.insert(trial(seed, index));
      }
    }
    EXPECT_EQ(all.size(), 800u) << row.name;
    // A longer trial does not begin as the shorter one of the same index does.
    std::vector<int32_t> longer = trial_sequence(row.task, kVocab, 128, 1, 5).tokens;
    longer.resize(16);
    std::vector<int32_t> shorter = trial(1, 5);
    shorter.resize(16);
    EXPECT_NE(longer, shorter) << row.name;
  }
}

TEST(SyntheticTask, LeastSizesHaveAnswersAndSmallerOnesAreRefused) {
  for (const SyntheticTaskRow& row : synthetic_tasks()) {
    EXPECT_EQ(parse_synthetic_task(row.name), row.task);
    const int64_t vocab = row.least_vocab_size;
    const int64_t length = row.least_length;
    EXPECT_GE(num_answers(trial_sequence(row.task, vocab, length, 1, 0)), 1) << row.name;
    for (const auto& [bad_vocab, bad_length] : std::vector<std::pair<int64_t, int64_t>>{
             {vocab - 1, length}, {vocab, length - 1}, {vocab, 0}, {0, length}, {vocab, (1 << 24) + 1}}) {
      const std::string message = message_of<core::UsageError>(
          [&, v = bad_vocab, l = bad_length] { training_sequence(row.task, v, l, 1, 0); });
      EXPECT_THAT(message, HasSubstr(std::string(row.name)));
      EXPECT_THAT(message, HasSubstr(bad_vocab != vocab ? "vocabulary" : "sequences of"));
      EXPECT_THROW(trial_sequence(row.task, bad_vocab, bad_length, 1, 0), core::UsageError);
    }
  }
  EXPECT_THAT(message_of<core::UsageError>([] { parse_synthetic_task("needle"); }),
              HasSubstr("allowed are copy, passkey"));
}

}  // namespace
}  // namespace ssgpt::data
