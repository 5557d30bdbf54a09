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
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::AllOf;
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

// The contents of a passkey sequence.
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

// The contents of a key_value sequence.
struct KeyValues {
  std::vector<std::pair<int32_t, int32_t>> keys;  // in their order, repetitions as well
  std::map<std::pair<int32_t, int32_t>, int32_t> values;
  std::vector<uint8_t> is_answer;
};

KeyValues parse_key_values(const std::vector<int32_t>& tokens, int64_t vocab) {
  const auto is_key_symbol = [&](int32_t token) {
    return token >= 0 && token < vocab / 2;
  };
  KeyValues found;
  found.is_answer.resize(tokens.size());
  const size_t front = tokens.size() % 3;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool key_symbol = i >= front && (i - front) % 3 < 2;
    EXPECT_EQ(is_key_symbol(tokens[i]), key_symbol) << i;
    EXPECT_LT(tokens[i], vocab);
    if (i < front || (i - front) % 3 != 2) continue;
    const std::pair key(tokens[i - 2], tokens[i - 1]);
    const auto [value, is_new] = found.values.emplace(key, tokens[i]);
    EXPECT_EQ(value->second, tokens[i]) << "another value at " << i;
    found.is_answer[i] = is_new ? 0 : 1;
    found.keys.push_back(key);
  }
  return found;
}

TEST(KeyValueTask, EveryAnswerIsTheValueThatStoodBehindTheKeyBefore) {
  for (const int64_t vocab : {14, 15, 64}) {  // 49 keys of two symbols and more
    for (int64_t index = 0; index < 283; ++index) {
      const int64_t length = 12 + index;
      for (const TaskSequence& sequence : {training_sequence(kKeyValue, vocab, length, 1, index),
                                           trial_sequence(kKeyValue, vocab, length, 1, index)}) {
        ASSERT_EQ(sequence.tokens.size(), static_cast<size_t>(length));
        ASSERT_EQ(parse_key_values(sequence.tokens, vocab).is_answer, sequence.is_answer);
      }
    }
  }
}

TEST(KeyValueTask, TrialHasEachPairOnceAndAsksForHalfOfThemInAnyOrder) {
  constexpr double kTrials = 4000.0;
  for (const auto& [length, asked] : std::map<int64_t, size_t>{{12, 2}, {17, 2}, {18, 3}, {23, 3}, {24, 4}}) {
    const size_t keys = static_cast<size_t>(length) / 3 - asked;
    std::map<int64_t, double> first_asked;
    std::map<int64_t, double> last_asked;
    for (int64_t index = 0; index < static_cast<int64_t>(kTrials); ++index) {
      const TaskSequence trial = trial_sequence(kKeyValue, kVocab, length, 1, index);
      const KeyValues found = parse_key_values(trial.tokens, kVocab);
      ASSERT_EQ(found.values.size(), keys);
      ASSERT_EQ(num_answers(trial), static_cast<int64_t>(asked));
      const auto end = found.keys.begin() + static_cast<int64_t>(keys);
      ++first_asked[std::find(found.keys.begin(), end, *end) - found.keys.begin()];
      ++last_asked[std::find(found.keys.begin(), end, found.keys.back()) - found.keys.begin()];
    }
    // Five standard deviations of a binomial count.
    const double expected = kTrials / static_cast<double>(keys);
    for (int64_t key = 0; key < static_cast<int64_t>(keys); ++key) {
      EXPECT_NEAR(first_asked[key], expected, 5.0 * std::sqrt(expected)) << length << ", " << key;
      EXPECT_NEAR(last_asked[key], expected, 5.0 * std::sqrt(expected)) << length << ", " << key;
    }
  }
}

TEST(KeyValueTask, TrainingHasFewToManyKeysAllAsOften) {
  constexpr double kSequences = 4000.0;
  std::map<size_t, double> counts;  // of sequences, by the keys that they have
  std::map<int64_t, double> firsts;
  std::map<int32_t, double> values;
  int64_t pairs_of_two = 0;
  int64_t changes = 0;  // of sequences with two keys
  for (int64_t index = 0; index < static_cast<int64_t>(kSequences); ++index) {
    const TaskSequence sequence = training_sequence(kKeyValue, kVocab, 768, 1, index);
    const KeyValues found = parse_key_values(sequence.tokens, kVocab);
    // 256 pairs, of up to 128 keys: the chance that one of 32 keys never comes is 1 in 100, of 128 keys 17 do
    // not.
    const size_t keys = found.values.size();
    ++counts[keys <= 2    ? 2
             : keys <= 4  ? 4
             : keys <= 8  ? 8
             : keys <= 16 ? 16
             : keys <= 32 ? 32
             : keys <= 64 ? 64
                          : 128];
    for (const auto& [key, value] : found.values) ++values[value];
    ++firsts[found.keys[0].first];
    if (keys > 2) continue;
    for (size_t i = 1; i < found.keys.size(); ++i, ++pairs_of_two) {
      changes += found.keys[i] != found.keys[i - 1] ? 1 : 0;
    }
  }
  // 2, 4, ... 128 keys, each as often as the others; five standard deviations of a binomial count, here and
  // below.
  EXPECT_EQ(counts.size(), 7u);
  for (const auto& [keys, count] : counts) {
    EXPECT_NEAR(count, kSequences / 7.0, 5.0 * std::sqrt(kSequences / 7.0)) << keys;
  }
  const double half = static_cast<double>(pairs_of_two) / 2.0;
  EXPECT_NEAR(static_cast<double>(changes), half, 5.0 * std::sqrt(half / 2.0));
  EXPECT_EQ(firsts.size(), 32u);
  for (const auto& [symbol, count] : firsts) {
    EXPECT_NEAR(count, kSequences / 32.0, 5.0 * std::sqrt(kSequences / 32.0)) << symbol;
  }
  EXPECT_EQ(values.size(), 32u);
  double all_values = 0.0;
  for (const auto& [value, count] : values) all_values += count;
  for (const auto& [value, count] : values) {
    EXPECT_NEAR(count, all_values / 32.0, 5.0 * std::sqrt(all_values / 32.0)) << value;
  }
}

TEST(KeyValueTask, MorePairsThanThereAreKeysAreRefused) {
  // 4 keys: 8 pairs and two symbols before them.
  EXPECT_EQ(num_answers(trial_sequence(kKeyValue, 4, 26, 1, 0)), 4);
  const std::string message = message_of<core::UsageError>([] { trial_sequence(kKeyValue, 4, 27, 1, 0); });
  EXPECT_THAT(message, AllOf(HasSubstr("sequences of 27 tokens"), HasSubstr("needs 5 different keys"),
                             HasSubstr("2 symbols make 4"), HasSubstr("up to 26 tokens")));
  EXPECT_THROW(training_sequence(kKeyValue, 4, 27, 1, 0), core::UsageError);
  EXPECT_EQ(num_answers(trial_sequence(kKeyValue, 64, 4096, 1, 0)), 682);
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
              HasSubstr("allowed are copy, passkey, key_value"));
}

}  // namespace
}  // namespace ssgpt::data
