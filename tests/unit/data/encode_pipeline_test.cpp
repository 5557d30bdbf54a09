#include "data/encode_pipeline.h"

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/prepare.h"
#include "tokenizer/tokenizer.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;

// Leaves this process room for a few dozen stacks of threads.
void limit_address_space() {
  rlim_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit stack{};
  ::getrlimit(RLIMIT_STACK, &stack);
  const rlim_t stack_bytes = stack.rlim_cur == RLIM_INFINITY ? rlim_t{8} << 20 : stack.rlim_cur;
  const rlim_t bytes = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + 30 * stack_bytes;
  const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
  ::setrlimit(RLIMIT_AS, &limit);
}

TEST(EncodePipeline, ThreadsThatTheSystemRefusesAreAnErrorThatNamesTheOption) {
  const TemporaryDirectory folder;
  const tokenizer::Tokenizer tokenizer(testing::write_tokenizer(folder));
  const auto start_too_many = [&] {
    limit_address_space();
    const std::string message = message_of<core::RunError>([&] {
      EncodePipeline pipeline(
          tokenizer, [](EncodeBatch&) { return false; }, /*num_threads=*/1000, /*max_bytes=*/1 << 20);
    });
    std::cerr << message << std::endl;
    std::_Exit(7);
  };
  // In a process of its own, for it has no memory left; one that unwound past running threads would abort.
  EXPECT_EXIT(start_too_many(), ::testing::ExitedWithCode(7), "1000 threads.*refused.*--threads");
}

// The tokens of a batch take more memory than its text did.
TEST(EncodePipeline, BatchThatTheCallerHasCountsAsAhead) {
  const TemporaryDirectory folder;
  const tokenizer::Tokenizer tokenizer(testing::write_tokenizer(folder));
  std::atomic<int> num_read = 0;
  const auto read = [&](EncodeBatch& batch) {
    batch.documents.push_back(
        {.index = num_read, .encode = true, .text_bytes = 4, .text = "text", .tokens = {}});
    batch.text_bytes = 4;
    return ++num_read <= 5;
  };
  EncodePipeline pipeline(tokenizer, read, /*num_threads=*/2, /*max_bytes=*/1);
  EncodeBatch batch;
  for (int taken = 1; taken <= 5; ++taken) {
    ASSERT_TRUE(pipeline.next(batch));
    EXPECT_EQ(batch.documents.front().index, taken - 1);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // for what must not happen
    EXPECT_LE(num_read, taken + 1) << "the one that waits for room is read, none behind it";
  }
  EXPECT_FALSE(pipeline.next(batch));
}

TEST(EncodePipeline, PrepareBoundsTheNumberOfThreads) {
  PrepareOptions options;
  for (const int threads : {-1, 1025}) {
    options.num_threads = threads;
    EXPECT_THAT(message_of<core::UsageError>([&] { prepare(options); }), HasSubstr("--threads"));
  }
}

}  // namespace
}  // namespace ssgpt::data
