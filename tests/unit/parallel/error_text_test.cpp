#include "parallel/error_text.h"

#include "core/error.h"
#include "parallel/ranks.h"

#include <filesystem>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string torch_error(const char* words) {
  try {
    TORCH_CHECK(false, words);
  } catch (const c10::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("Exception raised from"));  // which people should not see
    return error_text(error);
  }
  return "";
}

TEST(ErrorText, IsTheErrorsOwnWordsWhereTheyAreForPeople) {
  EXPECT_EQ(error_text(core::UsageError("bad {}", 3)), "bad 3");
  EXPECT_EQ(error_text(std::filesystem::filesystem_error("copy", "a/b",
                                                         std::make_error_code(std::errc::permission_denied))),
            "a/b: Permission denied.");
}

TEST(ExitCode, OfAPathThatCannotNameAnythingIsThatOfBadInput) {
  const auto of = [](std::errc reason) {
    return exit_code(std::filesystem::filesystem_error("stat", "a/b", std::make_error_code(reason)));
  };
  EXPECT_EQ(of(std::errc::too_many_symbolic_link_levels), core::ExitCode::kBadInput);
  EXPECT_EQ(of(std::errc::filename_too_long), core::ExitCode::kBadInput);
  EXPECT_EQ(of(std::errc::no_space_on_device), core::ExitCode::kFailed);
  EXPECT_EQ(exit_code(core::UsageError("bad")), core::ExitCode::kUsage);
  EXPECT_EQ(exit_code(std::bad_alloc()), core::ExitCode::kFailed);
}

TEST(ErrorText, SaysWhatHelpsWhereTheMemoryDoesNotSuffice) {
  EXPECT_THAT(error_text(std::bad_alloc()), StartsWith("Out of memory."));
  EXPECT_EQ(torch_error("DefaultCPUAllocator: can't allocate memory: you tried"),
            error_text(std::bad_alloc()));
}

TEST(ErrorText, OfAGpuNamesItsMemoryFirst) {
  try {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. GPU 0 has 3 MiB free.\nAnd a hint.");
  } catch (const c10::Error& error) {
    EXPECT_THAT(error_text(error),
                AllOf(StartsWith("CUDA out of memory. GPU 0 has 3 MiB free. Out of memory."),
                      HasSubstr("train.micro_batch_size"), Not(HasSubstr("raised from"))));
  }
}

TEST(ErrorText, HasNoBacktrace) {
  EXPECT_THAT(torch_error("shapes differ"), AllOf(StartsWith("internal error: shapes differ"),
                                                  Not(HasSubstr("raised from")), Not(HasSubstr("frame #"))));
}

TEST(ErrorText, IsWhatTheOtherRanksHear) {
  const std::vector<std::string> messages = run_ranks(2, [](Communicator& communicator) {
    if (communicator.rank() == 1) TORCH_CHECK(false, "shapes differ");
    communicator.sum(1.0);
  });
  EXPECT_THAT(messages[0], AllOf(HasSubstr("Rank 1 failed: internal error: shapes differ"),
                                 Not(HasSubstr("raised from"))));
}

}  // namespace
}  // namespace ssgpt::parallel
