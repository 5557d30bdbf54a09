#include "data/synthetic.h"

#include "core/check.h"
#include "core/error.h"
#include "core/random.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <numeric>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::data {
namespace {

// copy: tokens of a repetition that reveal the position in the segment.
constexpr int64_t kCueTokens = 4;

// passkey
constexpr int64_t kMarker = 0;
constexpr int64_t kFirstKeySymbol = 1;
constexpr int64_t kKeyTokens = 4;
constexpr int64_t kGroupTokens = 1 + kKeyTokens;

// key_value: two symbols of a key, and a value.
constexpr int64_t kPairTokens = 3;

constexpr std::array kRows = {
    SyntheticTaskRow{
        .task = SyntheticTask::kCopy,
        .name = "copy",
        .description = "repeat a random segment that came before",
        .grammar = "a trial is a random segment of L/2 symbols, repeated once; the answers are the "
                   "repetition from its fifth token on; a training sequence repeats a segment of L/8 to L/2 "
                   "symbols until it is full",
        .least_vocab_size = 2,
        .least_length = 10,
    },
    SyntheticTaskRow{
        .task = SyntheticTask::kPasskey,
        .name = "passkey",
        .description = "find a key of four symbols in noise",
        .grammar =
            "a trial is noise with token 0 and a key of 4 symbols at a random depth, and ends with both "
            "again; the answers are the 4 symbols at the end; a training sequence has token 0 and the key "
            "2, 4, 8, ... times, at most L/5, anywhere",
        .least_vocab_size = kFirstKeySymbol + 2 * kKeyTokens,
        .least_length = 2 * kGroupTokens,
    },
    SyntheticTaskRow{
        .task = SyntheticTask::kKeyValue,
        .name = "key_value",
        .description = "find the values of keys of two symbols",
        .grammar =
            "a trial is L/6 keys of 2 symbols with one value each, followed by the same pairs in another "
            "order; the answers are the values in the second part; a training sequence has 2, 4, 8, ... "
            "keys, at most L/6, and each of its L/3 pairs has any of them",
        .least_vocab_size = 4,
        .least_length = 4 * kPairTokens,
    },
};

// The random numbers of one sequence, drawn one at a time.
class Draws {
 public:
  Draws(SyntheticTask task, std::string_view use, int64_t length, uint64_t seed, int64_t index)
      : key_(core::random_bits(
            core::stream_key(seed, fmt::format("synthetic {} {} {}", to_string(task), use, length)),
            static_cast<uint64_t>(index))) {}

  // Uniform in [first, last].
  int64_t between(int64_t first, int64_t last) {
    const auto count = static_cast<double>(last - first + 1);
    return first + static_cast<int64_t>(core::random_uniform(key_, next_++) * count);
  }

  // 2, 4, 8, ... up to `most`, each with the same probability; 2 where `most` is less.
  int64_t power_of_two(int64_t most) {
    int64_t num_powers = 1;
    while ((int64_t{2} << num_powers) <= most) ++num_powers;
    return int64_t{2} << between(0, num_powers - 1);
  }

 private:
  uint64_t key_;
  uint64_t next_ = 0;
};

void append(TaskSequence& sequence, int64_t token, bool is_answer) {
  sequence.tokens.push_back(static_cast<int32_t>(token));
  sequence.is_answer.push_back(is_answer ? 1 : 0);
}

TaskSequence copy_sequence(int64_t segment, int64_t vocab_size, int64_t length, Draws& draws) {
  TaskSequence sequence;
  sequence.tokens.resize(static_cast<size_t>(length));
  sequence.is_answer.resize(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) {
    const auto at = static_cast<size_t>(i);
    sequence.tokens[at] = i < segment ? static_cast<int32_t>(draws.between(0, vocab_size - 1))
                                      : sequence.tokens[static_cast<size_t>(i - segment)];
    sequence.is_answer[at] = i >= segment + kCueTokens ? 1 : 0;
  }
  return sequence;
}

class PasskeySequence {
 public:
  PasskeySequence(int64_t vocab_size, Draws& draws)
      : vocab_size_(vocab_size),
        num_key_symbols_((vocab_size - kFirstKeySymbol) / 2),
        draws_(draws),
        key_(draw_key()) {}

  void add_noise(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      append(sequence_, draws_.between(kFirstKeySymbol + num_key_symbols_, vocab_size_ - 1),
             /*is_answer=*/false);
    }
  }

  // The key is an answer in all groups but the first.
  void add_group() {
    append(sequence_, kMarker, /*is_answer=*/false);
    for (const int64_t symbol : key_) append(sequence_, symbol, any_group_);
    any_group_ = true;
  }

  TaskSequence take() { return std::move(sequence_); }

 private:
  // Four different symbols, every choice and order equally likely: the i-th is drawn among the remaining
  // ones, then steps over the smaller ones already taken.
  std::array<int64_t, kKeyTokens> draw_key() {
    std::array<int64_t, kKeyTokens> symbols{};
    std::vector<int64_t> taken;  // ascending
    for (int64_t& symbol : symbols) {
      symbol = kFirstKeySymbol + draws_.between(0, num_key_symbols_ - 1 - static_cast<int64_t>(taken.size()));
      for (const int64_t other : taken) symbol += symbol >= other ? 1 : 0;
      taken.insert(std::upper_bound(taken.begin(), taken.end(), symbol), symbol);
    }
    return symbols;
  }

  const int64_t vocab_size_;
  const int64_t num_key_symbols_;
  Draws& draws_;
  const std::array<int64_t, kKeyTokens> key_;
  TaskSequence sequence_;
  bool any_group_ = false;
};

TaskSequence passkey_training(int64_t vocab_size, int64_t length, Draws& draws) {
  int64_t groups = draws.power_of_two(length / kGroupTokens);
  PasskeySequence sequence(vocab_size, draws);
  for (int64_t left = length - groups * kKeyTokens; left > 0; --left) {  // noise symbols and groups
    if (draws.between(0, left - 1) < groups) {
      sequence.add_group();
      --groups;
    } else {
      sequence.add_noise(1);
    }
  }
  return sequence.take();
}

TaskSequence passkey_trial(int64_t vocab_size, int64_t length, Draws& draws) {
  const int64_t noise = length - 2 * kGroupTokens;
  const int64_t depth = draws.between(0, noise);
  PasskeySequence sequence(vocab_size, draws);
  sequence.add_noise(depth);
  sequence.add_group();
  sequence.add_noise(noise - depth);
  sequence.add_group();
  return sequence.take();
}

// A key_value sequence: its keys with their values, and the tokens so far.
class KeyValueSequence {
 public:
  // Draws the symbols before the pairs, and `keys` different keys with their values; `keys` is at most
  // num_keys().
  KeyValueSequence(int64_t vocab_size, int64_t length, int64_t keys, Draws& draws)
      : num_key_symbols_(vocab_size / 2) {
    const auto draw_value = [&] {
      return draws.between(num_key_symbols_, vocab_size - 1);
    };
    for (int64_t i = 0; i < length % kPairTokens; ++i) append(sequence_, draw_value(), /*is_answer=*/false);
    std::unordered_set<int64_t> taken;
    while (std::ssize(pairs_) < keys) {
      const int64_t key = draws.between(0, num_keys(vocab_size) - 1);
      if (taken.insert(key).second) pairs_.push_back({.key = key, .value = draw_value()});
    }
  }

  static int64_t num_keys(int64_t vocab_size) { return (vocab_size / 2) * (vocab_size / 2); }

  // The value is an answer if the pair was added before.
  void add_pair(int64_t number) {
    Pair& pair = pairs_[static_cast<size_t>(number)];
    append(sequence_, pair.key / num_key_symbols_, /*is_answer=*/false);
    append(sequence_, pair.key % num_key_symbols_, /*is_answer=*/false);
    append(sequence_, pair.value, pair.was_added);
    pair.was_added = true;
  }

  TaskSequence take() { return std::move(sequence_); }

 private:
  struct Pair {
    int64_t key;  // first symbol times num_key_symbols_, plus the second
    int64_t value;
    bool was_added = false;
  };

  const int64_t num_key_symbols_;
  std::vector<Pair> pairs_;
  TaskSequence sequence_;
};

TaskSequence key_value_training(int64_t vocab_size, int64_t length, Draws& draws) {
  const int64_t pairs = length / kPairTokens;
  const int64_t most_keys = std::min(pairs / 2, KeyValueSequence::num_keys(vocab_size));
  const int64_t keys = draws.power_of_two(most_keys);
  KeyValueSequence sequence(vocab_size, length, keys, draws);
  for (int64_t i = 0; i < pairs; ++i) sequence.add_pair(draws.between(0, keys - 1));
  return sequence.take();
}

TaskSequence key_value_trial(int64_t vocab_size, int64_t length, Draws& draws) {
  const int64_t asked = length / kPairTokens / 2;
  const int64_t keys = length / kPairTokens - asked;
  KeyValueSequence sequence(vocab_size, length, keys, draws);
  for (int64_t i = 0; i < keys; ++i) sequence.add_pair(i);
  std::vector<int64_t> left(static_cast<size_t>(keys));
  std::iota(left.begin(), left.end(), int64_t{0});
  for (int64_t i = 0; i < asked; ++i) {
    std::swap(left[static_cast<size_t>(i)], left[static_cast<size_t>(draws.between(i, keys - 1))]);
    sequence.add_pair(left[static_cast<size_t>(i)]);
  }
  return sequence.take();
}

TaskSequence copy_training(int64_t vocab_size, int64_t length, Draws& draws) {
  return copy_sequence(draws.between((length + 7) / 8, length / 2), vocab_size, length, draws);
}

TaskSequence copy_trial(int64_t vocab_size, int64_t length, Draws& draws) {
  return copy_sequence((length + 1) / 2, vocab_size, length, draws);
}

// In a trial every second pair has a key of its own.
void check_number_of_keys(int64_t vocab_size, int64_t length) {
  const int64_t num_keys = KeyValueSequence::num_keys(vocab_size);
  const int64_t most_pairs = 2 * num_keys;
  if (length / kPairTokens <= most_pairs) return;
  throw core::UsageError(
      "sequences of {} tokens: the task {} needs {} different keys of two symbols for them, and {} symbols "
      "make {}; with a vocabulary of {} it takes up to {} tokens",
      length, to_string(SyntheticTask::kKeyValue), (length / kPairTokens + 1) / 2, vocab_size / 2, num_keys,
      vocab_size, most_pairs * kPairTokens + kPairTokens - 1);
}

// The functions that make a task's sequences from the random numbers of one sequence.
struct Maker {
  TaskSequence (*training)(int64_t vocab_size, int64_t length, Draws& draws);
  TaskSequence (*trial)(int64_t vocab_size, int64_t length, Draws& draws);
};

Maker maker_of(SyntheticTask task) {
  switch (task) {
    case SyntheticTask::kCopy:
      return {.training = copy_training, .trial = copy_trial};
    case SyntheticTask::kPasskey:
      return {.training = passkey_training, .trial = passkey_trial};
    case SyntheticTask::kKeyValue:
      return {.training = key_value_training, .trial = key_value_trial};
  }
  SSGPT_CHECK(false, "synthetic task {} has no sequences", static_cast<int>(task));
}

}  // namespace

std::span<const SyntheticTaskRow> synthetic_tasks() {
  return kRows;
}

const SyntheticTaskRow& row_of(SyntheticTask task) {
  const auto found =
      std::find_if(kRows.begin(), kRows.end(), [task](const auto& row) { return row.task == task; });
  SSGPT_CHECK(found != kRows.end(), "synthetic task {} has no row", static_cast<int>(task));
  return *found;
}

std::string_view to_string(SyntheticTask task) {
  return row_of(task).name;
}

std::vector<std::string> synthetic_task_names() {
  std::vector<std::string> names;
  for (const SyntheticTaskRow& row : kRows) names.emplace_back(row.name);
  return names;
}

SyntheticTask parse_synthetic_task(std::string_view name) {
  for (const SyntheticTaskRow& row : kRows) {
    if (row.name == name) return row.task;
  }
  throw core::UsageError("there is no synthetic task '{}': allowed are {}", name,
                         fmt::join(synthetic_task_names(), ", "));
}

void check_synthetic(SyntheticTask task, int64_t vocab_size, int64_t length) {
  const SyntheticTaskRow& row = row_of(task);
  constexpr int64_t kMaxVocabSize = std::numeric_limits<int32_t>::max();
  if (vocab_size < row.least_vocab_size || vocab_size > kMaxVocabSize) {
    throw core::UsageError("a vocabulary of {}: the task {} takes {} to {}", vocab_size, row.name,
                           row.least_vocab_size, kMaxVocabSize);
  }
  if (length < row.least_length || length > kMaxSyntheticLength) {
    throw core::UsageError("sequences of {} tokens: the task {} takes {} to {}", length, row.name,
                           row.least_length, kMaxSyntheticLength);
  }
  if (task == SyntheticTask::kKeyValue) check_number_of_keys(vocab_size, length);
}

TaskSequence training_sequence(SyntheticTask task, int64_t vocab_size, int64_t length, uint64_t seed,
                               int64_t index) {
  check_synthetic(task, vocab_size, length);
  Draws draws(task, "training", length, seed, index);
  return maker_of(task).training(vocab_size, length, draws);
}

TaskSequence trial_sequence(SyntheticTask task, int64_t vocab_size, int64_t length, uint64_t seed,
                            int64_t index) {
  check_synthetic(task, vocab_size, length);
  Draws draws(task, "trial", length, seed, index);
  return maker_of(task).trial(vocab_size, length, draws);
}

}  // namespace ssgpt::data
