// Synthetic tasks: sequences of symbols in which some tokens, the answers, follow from the tokens before
// them. Each sequence is a pure function of (task, vocabulary, length, seed, index). Independent of files and
// models.
//
// copy. Training: a segment of n random symbols, repeated to the end of the sequence; n is uniform from
// ceil(length / 8) to floor(length / 2). Trial: the same with n = ceil(length / 2), so that the segment is
// repeated once, the repetition being one symbol short if the length is odd. Symbols are uniform over the
// vocabulary. Answers: all tokens from the fifth of the first repetition on, since the four before them
// reveal the position in the segment.
//
// passkey. Token 0 is the marker; of the V - 1 others the first floor((V - 1) / 2), from 1 on, are key
// symbols, and the rest is noise. A sequence is noise with groups in it, each consisting of the marker and
// the same key of four different symbols, 0 k1 k2 k3 k4: when the marker comes again, it asks for the key.
// Trial: d noise symbols, a group, length - 10 - d noise symbols, a group; the depth d is uniform from 0 to
// length - 10. Training: c groups, every arrangement of them in length - 5 c noise symbols equally likely; c
// is 2, 4, 8, ... up to length / 5, each with the same probability. Answers: the keys of all groups but the
// first.
//
// key_value. The first floor(V / 2) tokens are key symbols, the rest are value symbols. A key is two
// consecutive key symbols, and a pair is a key and the value symbol that belongs to it in this sequence, k1
// k2 v. A sequence is length mod 3 random value symbols and P = floor(length / 3) pairs. Trial: ceil(P / 2)
// pairs with different keys, then floor(P / 2) of them again, every choice and order equally likely.
// Training: each pair is one of m with different keys, all equally likely; m is 2, 4, 8, ... up to P / 2 and
// to the number of keys, each with the same probability. Keys and values are uniform; several keys may have
// the same value. Answers: the values of keys that came before.
//
// So distances from an answer to its earlier occurrence are mixed: in copy from length / 8 to length / 2; in
// passkey from 5 to length - 5, with few groups far apart and many close together; and in key_value from 3 to
// length - 3, with few keys to tell apart at short distances and many at long ones. They are mixed at every
// index, and training reads the sequences in a permuted order (data/sampler.h): there is no curriculum from
// short to long.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::data {

enum class SyntheticTask { kCopy, kPasskey, kKeyValue };

struct SyntheticTaskRow {
  SyntheticTask task;
  std::string_view name;         // on the command line and in files: "copy"
  std::string_view description;  // one line, for users
  std::string_view grammar;      // of a trial and of a training sequence with L tokens, for --help
  int64_t least_vocab_size;
  int64_t least_length;  // the shortest sequence of either kind that has an answer
};

// All tasks, in the order shown to users.
std::span<const SyntheticTaskRow> synthetic_tasks();
const SyntheticTaskRow& row_of(SyntheticTask task);
std::string_view to_string(SyntheticTask task);
std::vector<std::string> synthetic_task_names();

// The task with that name. Throws core::UsageError, which lists all names, if there is none.
SyntheticTask parse_synthetic_task(std::string_view name);

// Most tokens in a sequence, as for data.sequence_length.
inline constexpr int64_t kMaxSyntheticLength = int64_t{1} << 24;

// Throws core::UsageError if the task has no sequences of this length over this vocabulary.
void check_synthetic(SyntheticTask task, int64_t vocab_size, int64_t length);

struct TaskSequence {
  std::vector<int32_t> tokens;     // `length` ids below vocab_size
  std::vector<uint8_t> is_answer;  // is_answer[i]: token i is an answer, predicted from the tokens before it
};

// The index-th training sequence, index >= 0. Throws as check_synthetic().
TaskSequence training_sequence(SyntheticTask task, int64_t vocab_size, int64_t length, uint64_t seed,
                               int64_t index);

// The index-th sequence for evaluation, index >= 0, with its own random numbers: no trial is a training
// sequence of the same seed, except by chance. Trials of another length are other trials. Throws as
// check_synthetic().
TaskSequence trial_sequence(SyntheticTask task, int64_t vocab_size, int64_t length, uint64_t seed,
                            int64_t index);

}  // namespace ssgpt::data
