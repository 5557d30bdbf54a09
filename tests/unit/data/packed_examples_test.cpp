#include "data/packed_examples.h"

#include "core/checksum.h"
#include "core/error.h"
#include "data/fixtures.h"
#include "data/loader.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;

constexpr int64_t kPackedLength = 48;

// The contents of a window, read back from a row.
struct Piece {
  Ids inputs, targets;
  auto operator<=>(const Piece&) const = default;
};

class Packing : public ::testing::Test {
 protected:
  Packing() : tokenizer_(testing::write_tokenizer(folder_)) {}

  static std::string line(const std::string& prompt, const std::string& answer) {
    return fmt::format("{{\"prompt\": \"{}\", \"answer\": \"{}\"}}\n", prompt, answer);
  }

  // `count` examples of 3 to 40 tokens.
  void add_examples(int count) {
    for (int i = 0; i < count; ++i) {
      std::string prompt = fmt::format("{} koba", i);
      std::string answer = "li";
      for (int k = i * 7 % 11; k > 0; --k) prompt += " mentu";
      for (int k = i * 5 % 4; k > 0; --k) answer += " zivey";
      add(prompt, answer);
    }
  }

  void add(const std::string& prompt, const std::string& answer) {
    lines_ += line(prompt, answer);
    Ids ids = tokenizer_.encode(prompt);
    const size_t begin = ids.size();
    for (const int32_t id : tokenizer_.encode(answer)) ids.push_back(id);
    ids.push_back(tokenizer_.eos_id());
    Piece piece{.inputs = Ids(ids.begin(), ids.end() - 1), .targets = Ids(ids.begin() + 1, ids.end())};
    std::fill_n(piece.targets.begin(), begin - 1, -1);
    expected_.insert(piece);
    in_order_.push_back({.prompt = static_cast<int64_t>(begin), .ids = std::move(ids)});
  }

  PackedExamples pack(int64_t length = kPackedLength,
                      config::OnLongExample on_long_example = config::OnLongExample::kStop) {
    testing::write_file(path_, lines_);
    return PackedExamples({path_}, tokenizer_, length, on_long_example);
  }

  // The examples of a window, without its padding.
  static std::vector<Piece> pieces(const PackedExamples& examples, int64_t window) {
    MicroBatch row;
    read_windows(examples, std::vector<int64_t>{window}, row);
    std::vector<Piece> result;
    for (size_t t = 0; t < row.tokens.size(); ++t) {
      if (row.num_keys[t] == 1) result.emplace_back();
      EXPECT_EQ(row.num_keys[t], static_cast<int32_t>(result.back().inputs.size()) + 1);
      result.back().inputs.push_back(row.tokens[t]);
      result.back().targets.push_back(row.targets[t]);
    }
    const bool padded = std::all_of(result.back().targets.begin(), result.back().targets.end(),
                                    [](int32_t target) { return target == -1; });
    if (padded) result.pop_back();
    return result;
  }

  struct Added {
    int64_t prompt;  // tokens
    Ids ids;
  };

  const TemporaryDirectory folder_;
  const std::filesystem::path path_ = folder_ / "examples.jsonl";
  const tokenizer::Tokenizer tokenizer_;
  std::string lines_;
  std::multiset<Piece> expected_;
  std::vector<Added> in_order_;
};

TEST_F(Packing, EveryExampleStandsWholeInOneWindowAndItsAnswerAloneIsPredicted) {
  add_examples(500);
  const PackedExamples examples = pack();
  std::multiset<Piece> found;
  int64_t answers = 0, prompts = 0;
  for (int64_t window = 0; window < examples.num_windows(); ++window) {
    int64_t of_window = 0;
    for (const Piece& piece : pieces(examples, window)) {
      found.insert(piece);
      const auto unpredicted = std::count(piece.targets.begin(), piece.targets.end(), -1);
      prompts += unpredicted;
      of_window += static_cast<int64_t>(piece.targets.size()) - unpredicted;
    }
    EXPECT_EQ(examples.answer_tokens(window), of_window);
    EXPECT_GT(of_window, 0);
    answers += of_window;
  }
  EXPECT_EQ(found, expected_);
  EXPECT_EQ(examples.num_examples(), 500);
  EXPECT_EQ(examples.num_answer_tokens(), answers);
  EXPECT_EQ(examples.num_prompt_tokens(), prompts);
  EXPECT_EQ(examples.num_padding_tokens(), examples.num_windows() * kPackedLength - answers - prompts);
  // With pieces up to half a window long, best fit leaves little: one window each would be three times as
  // many.
  EXPECT_LT(examples.num_padding_tokens(), examples.num_windows() * kPackedLength / 10);
}

TEST_F(Packing, AnExampleFillsAWindowToTheLastTokenAndNotBeyond) {
  add_examples(4);
  add("koba mentu li", "zivey koba");
  const auto longest = static_cast<int64_t>(
      std::max_element(expected_.begin(), expected_.end(), [](const Piece& a, const Piece& b) {
        return a.inputs.size() < b.inputs.size();
      })->inputs.size());
  const PackedExamples examples = pack(longest);
  EXPECT_EQ(examples.num_examples(), 5);
  const std::string message = message_of<core::InputError>([&] { pack(longest - 1); });
  EXPECT_THAT(message, HasSubstr(fmt::format("the example has {} tokens", longest + 1)));
  EXPECT_THAT(message, HasSubstr("examples.jsonl:"));
  EXPECT_THAT(message, HasSubstr("data.on_long_example: skip"));
  const PackedExamples fewer = pack(longest - 1, config::OnLongExample::kSkip);
  EXPECT_EQ(fewer.num_examples() + fewer.num_left_out(), 5);
  EXPECT_GT(fewer.num_left_out(), 0);
  EXPECT_THAT(message_of<core::InputError>([&] { pack(2, config::OnLongExample::kSkip); }),
              HasSubstr("holds no example that fits"));
}

// 10,000 are read in several parts and encoded by several threads. The fingerprint, as the header says of it,
// is over the ids of all examples in the order of the file.
TEST_F(Packing, ThreadsDoNotChangeTheOrder) {
  add_examples(10'000);
  const PackedExamples examples = pack();
  core::Checksum checksum;
  for (const Added& added : in_order_) checksum.update(std::as_bytes(std::span(added.ids)));
  for (const Added& added : in_order_) {
    const auto tokens = static_cast<int64_t>(added.ids.size());
    checksum.update(std::as_bytes(std::span(&added.prompt, 1)));
    checksum.update(std::as_bytes(std::span(&tokens, 1)));
  }
  EXPECT_EQ(examples.fingerprint(), checksum.hex());
}

// A span begins where the number of keys is 1.
TEST_F(Packing, MostSpansAreThoseOfTheFullestWindows) {
  add_examples(60);
  const PackedExamples examples = pack();
  std::vector<int64_t> spans;
  for (int64_t window = 0; window < examples.num_windows(); ++window) {
    MicroBatch row;
    read_windows(examples, std::vector<int64_t>{window}, row);
    spans.push_back(std::count(row.num_keys.begin(), row.num_keys.end(), 1));
  }
  std::sort(spans.rbegin(), spans.rend());
  ASSERT_GT(spans.front(), spans.back());
  EXPECT_EQ(examples.most_spans(1), spans[0]);
  EXPECT_EQ(examples.most_spans(3), spans[0] + spans[1] + spans[2]);
  const int64_t all = std::accumulate(spans.begin(), spans.end(), int64_t{0});
  EXPECT_EQ(examples.most_spans(examples.num_windows() + 5), all + 5);
}

TEST_F(Packing, TheFingerprintKnowsWhereAnswersBegin) {
  lines_ = line("koba mentu", " li");
  const std::string one = pack().fingerprint();
  lines_ = line("koba", " mentu li");
  EXPECT_NE(pack().fingerprint(), one);
}

TEST(EpochOrder, EveryEpochHasEachWindowOnceAndItsOwnOrder) {
  const EpochOrder order(/*seed=*/3, /*num_windows=*/10, /*rows=*/4);
  EXPECT_EQ(order.steps_per_epoch(), 3);
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    std::vector<int64_t> windows;
    for (int64_t step = 3 * epoch; step < 3 * epoch + 3; ++step) {
      for (int64_t row = 0; row < 4; ++row) windows.push_back(order.window(step, row));
    }
    EXPECT_THAT(std::vector<int64_t>(windows.begin() + 10, windows.end()), ::testing::Each(-1));
    windows.resize(10);
    orders.insert(windows);
    std::sort(windows.begin(), windows.end());
    for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(windows[static_cast<size_t>(i)], i);
  }
  EXPECT_EQ(orders.size(), 5U);
}

// Six rows a step as one reader of micro-batches of 6, and as three of 2 rows in micro-batches of 1, from the
// second step on.
TEST_F(Packing, RanksAndMicroBatchesReadTheSameRows) {
  add_examples(40);
  const PackedExamples examples = pack();
  const EpochOrder order(/*seed=*/3, examples.num_windows(), /*rows=*/6);
  ASSERT_NE(examples.num_windows() % 6, 0);  // the last step of an epoch has empty rows
  const auto options = [](int64_t first_row, int64_t rows, int64_t micro_batch, int64_t first_step) {
    return LoaderOptions{.sequence_length = kPackedLength,
                         .vocab_size = 600,
                         .samples_per_step = 6,
                         .first_row = first_row,
                         .rows_per_step = rows,
                         .micro_batch_size = micro_batch,
                         .first_step = first_step};
  };
  BatchLoader whole(examples, order, options(0, 6, 6, 0));
  whole.next();
  BatchLoader first(examples, order, options(0, 2, 1, 1));
  BatchLoader second(examples, order, options(2, 2, 1, 1));
  BatchLoader third(examples, order, options(4, 2, 1, 1));
  for (int64_t step = 1; step < 2 * order.steps_per_epoch() + 1; ++step) {
    const MicroBatch all = whole.next();
    EXPECT_EQ(all.step_targets,
              std::count_if(all.targets.begin(), all.targets.end(), [](int32_t id) { return id >= 0; }));
    Ids tokens, targets, num_keys;
    for (BatchLoader* part : {&first, &first, &second, &second, &third, &third}) {
      const MicroBatch& batch = part->next();
      EXPECT_EQ(batch.step_targets, all.step_targets);
      tokens.insert(tokens.end(), batch.tokens.begin(), batch.tokens.end());
      targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
      num_keys.insert(num_keys.end(), batch.num_keys.begin(), batch.num_keys.end());
    }
    EXPECT_EQ(tokens, all.tokens);
    EXPECT_EQ(targets, all.targets);
    EXPECT_EQ(num_keys, all.num_keys);
  }
}

}  // namespace
}  // namespace ssgpt::data
