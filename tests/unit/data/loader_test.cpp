#include "data/loader.h"

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kLength = 7;
constexpr int64_t kSamples = 12;  // a step, of 30 windows: epochs end inside a step

class Loader : public ::testing::Test {
 protected:
  Loader() {
    // Token i has id i, so that each batch tells where it was read.
    std::vector<uint32_t> tokens(30 * kLength + 1);
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<uint32_t>(i);
    }
    testing::write_file(path_,
                        testing::llmc_file(20240520, 1, static_cast<int32_t>(tokens.size()), tokens, 2));
    source_ = std::make_unique<TokenSource>(std::vector{path_});
  }

  static LoaderOptions options(int64_t first_row, int64_t rows, int64_t micro_batch, int64_t first_step = 0) {
    return {.sequence_length = kLength,
            .vocab_size = 1000,
            .samples_per_step = kSamples,
            .first_row = first_row,
            .rows_per_step = rows,
            .micro_batch_size = micro_batch,
            .first_step = first_step};
  }

  // The rows of one step, in order, over all of the reader's micro-batches.
  static std::vector<std::vector<int32_t>> read_step(BatchLoader& loader, int64_t rows) {
    std::vector<std::vector<int32_t>> result;
    while (static_cast<int64_t>(result.size()) < rows) {
      const MicroBatch& batch = loader.next();
      for (int64_t row = 0; row < batch.rows; ++row) {
        const auto begin = batch.tokens.begin() + row * batch.columns;
        result.emplace_back(begin, begin + batch.columns);
      }
    }
    return result;
  }

  const TemporaryDirectory folder_;
  const std::filesystem::path path_ = folder_ / "train.bin";
  const WindowSampler sampler_{4, 30};
  std::unique_ptr<TokenSource> source_;
};

TEST_F(Loader, RowsAreTheSamplersWindowsWithTheTokenAfterThem) {
  BatchLoader loader(*source_, sampler_, options(0, kSamples, 4));
  int64_t sample = 0;
  for (int step = 0; step < 8; ++step) {
    for (const auto& row : read_step(loader, kSamples)) {
      ASSERT_EQ(row.size(), static_cast<size_t>(kLength + 1));
      for (int64_t column = 0; column <= kLength; ++column) {
        EXPECT_EQ(row[static_cast<size_t>(column)], sampler_.window(sample) * kLength + column);
      }
      ++sample;
    }
  }
}

TEST_F(Loader, ReadersOfAnySplitTogetherReadWhatOneReaderReads) {
  for (const int64_t ranks : {2, 3, 6}) {
    for (const int64_t micro_batch : {1, 2}) {
      BatchLoader reference(*source_, sampler_, options(0, kSamples, 3));
      const int64_t rows = kSamples / ranks;
      std::vector<std::unique_ptr<BatchLoader>> loaders;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        loaders.push_back(
            std::make_unique<BatchLoader>(*source_, sampler_, options(rank * rows, rows, micro_batch)));
      }
      for (int step = 0; step < 4; ++step) {
        std::vector<std::vector<int32_t>> joined;
        for (auto& loader : loaders) {
          for (auto& row : read_step(*loader, rows)) {
            joined.push_back(row);
          }
        }
        EXPECT_EQ(joined, read_step(reference, kSamples));
      }
    }
  }
}

TEST_F(Loader, BeginsAtAnyStep) {
  BatchLoader from_start(*source_, sampler_, options(0, kSamples, 6));
  for (int step = 0; step < 5; ++step) {
    read_step(from_start, kSamples);
  }
  BatchLoader resumed(*source_, sampler_, options(0, kSamples, 6, /*first_step=*/5));
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(read_step(resumed, kSamples), read_step(from_start, kSamples));
  }
}

TEST_F(Loader, RethrowsWhatTheThreadMet) {
  LoaderOptions small = options(0, kSamples, 12);
  small.vocab_size = 5;
  BatchLoader loader(*source_, sampler_, small);
  EXPECT_THAT(message_of<core::InputError>([&] { loader.next(); }), HasSubstr("train.bin"));
  EXPECT_THROW(loader.next(), core::InputError);
}

TEST_F(Loader, FileThatShrinksIsAnInputError) {
  std::filesystem::resize_file(path_, 1024 + 20);
  BatchLoader loader(*source_, sampler_, options(0, kSamples, 12));
  EXPECT_THAT(message_of<core::InputError>([&] { loader.next(); }), HasSubstr("truncated"));
}

TEST_F(Loader, StopsPromptlyWithFullAndWithFreshQueues) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    BatchLoader loader(*source_, sampler_, options(0, kSamples, 4));
    if (i % 2 == 0) {
      loader.next();
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace ssgpt::data
