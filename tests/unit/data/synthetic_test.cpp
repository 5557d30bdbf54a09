// Sequences of the synthetic tasks, read again by parsers that know the grammar of data/synthetic.h alone.

#include "data/synthetic.h"

#include "core/error.h"
#include "data/fixtures.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
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
  struct Episode {
    int64_t begin = 0;
    int64_t statement = 0;  // where its marker is
    int64_t question = 0;
    std::vector<int32_t> key;
  };
  std::vector<Episode> episodes;
  std::vector<int32_t> noise;
  std::vector<uint8_t> is_answer;
  int64_t end = 0;  // behind the last episode
};

Passkeys parse_passkeys(const std::vector<int32_t>& tokens) {
  Passkeys found;
  found.is_answer.resize(tokens.size());
  std::optional<Passkeys::Episode> open;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] > 1) {
      found.noise.push_back(tokens[i]);
      continue;
    }
    const std::vector<int32_t> key(tokens.begin() + static_cast<int64_t>(i) + 1,
                                   tokens.begin() + static_cast<int64_t>(i) + 5);
    if (tokens[i] == 0) {
      EXPECT_FALSE(open) << "a second key before the first was asked for, at " << i;
      open = {.begin = found.end, .statement = static_cast<int64_t>(i), .question = 0, .key = key};
    } else {
      EXPECT_TRUE(open) << "no key to ask for at " << i;
      EXPECT_EQ(key, open->key) << "at " << i;
      std::fill_n(found.is_answer.begin() + static_cast<int64_t>(i) + 1, 4, uint8_t{1});
      open->question = static_cast<int64_t>(i);
      found.end = static_cast<int64_t>(i) + 5;
      found.episodes.push_back(*open);
      open.reset();
    }
    i += 4;
  }
  EXPECT_FALSE(open) << "a key that is not asked for";
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

TEST(PasskeyTask, EveryAnswerIsTheKeyThatWasStatedLast) {
  for (const int64_t vocab : {10, 11, 64}) {
    const int32_t first_noise = static_cast<int32_t>(2 + (vocab - 2) / 2);
    for (int64_t index = 0; index < 500; ++index) {
      const int64_t length = 10 + index % 300;
      for (const TaskSequence& sequence : {training_sequence(kPasskey, vocab, length, 1, index),
                                           trial_sequence(kPasskey, vocab, length, 1, index)}) {
        ASSERT_EQ(sequence.tokens.size(), static_cast<size_t>(length));
        const Passkeys found = parse_passkeys(sequence.tokens);
        ASSERT_EQ(found.is_answer, sequence.is_answer);
        ASSERT_FALSE(found.episodes.empty());
        for (const Passkeys::Episode& episode : found.episodes) {
          EXPECT_EQ(std::set<int32_t>(episode.key.begin(), episode.key.end()).size(), 4u);
          for (const int32_t symbol : episode.key) EXPECT_TRUE(symbol >= 2 && symbol < first_noise) << symbol;
        }
        for (const int32_t symbol : found.noise) {
          ASSERT_TRUE(symbol >= first_noise && symbol < vocab) << symbol;
        }
      }
    }
  }
}

TEST(PasskeyTask, TrainingMixesEpisodesFromTenTokensToTheWholeSequence) {
  constexpr int64_t kLength = 160;
  constexpr int64_t kSequences = 4000;
  std::map<int64_t, double> first_lengths;
  for (int64_t index = 0; index < kSequences; ++index) {
    const Passkeys found = parse_passkeys(training_sequence(kPasskey, kVocab, kLength, 1, index).tokens);
    EXPECT_LT(kLength - found.end, 10);  // what is left is too short for an episode
    const Passkeys::Episode& first = found.episodes.front();
    ++first_lengths[first.question + 5];
    std::set<std::vector<int32_t>> keys;
    for (const Passkeys::Episode& episode : found.episodes) keys.insert(episode.key);
    // Of 31 * 30 * 29 * 28 keys two among at most 16 are equal in one sequence of 6,000.
    EXPECT_GE(keys.size() + 1, found.episodes.size());
  }
  // 160 halved up to four times, each as often as the others: five standard deviations of a binomial count.
  EXPECT_EQ(first_lengths.size(), 5u);
  for (const int64_t length : {160, 80, 40, 20, 10}) {
    EXPECT_NEAR(first_lengths[length], kSequences / 5.0, 5.0 * std::sqrt(kSequences / 5.0)) << length;
  }
}

TEST(PasskeyTask, TrialIsOneEpisodeWithTheKeyAtAnyDepth) {
  constexpr int64_t kLength = 30;
  constexpr int64_t kTrials = 4000;
  std::map<int64_t, double> depths;
  std::map<int32_t, double> last_symbols;
  for (int64_t index = 0; index < kTrials; ++index) {
    const TaskSequence trial = trial_sequence(kPasskey, kVocab, kLength, 1, index);
    const Passkeys found = parse_passkeys(trial.tokens);
    ASSERT_EQ(found.episodes.size(), 1u);
    EXPECT_EQ(found.end, kLength);
    EXPECT_EQ(num_answers(trial), 4);
    ++depths[found.episodes.front().statement];
    ++last_symbols[found.episodes.front().key.back()];
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
