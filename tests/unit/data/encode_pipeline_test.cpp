#include "data/encode_pipeline.h"

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/prepare.h"
#include "tokenizer/tokenizer.h"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

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

TEST(EncodePipeline, PrepareBoundsTheNumberOfThreads) {
  PrepareOptions options;
  for (const int threads : {-1, 1025}) {
    options.num_threads = threads;
    EXPECT_THAT(message_of<core::UsageError>([&] { prepare(options); }), HasSubstr("--threads"));
  }
}

}  // namespace
}  // namespace ssgpt::data
