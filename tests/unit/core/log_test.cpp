#include "core/log.h"

#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "core/process_limits.h"
#include "core/progress.h"
#include "core/temporary_directory.h"
#include "core/text.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

TEST(Log, WritesShortLinesToStderrWithoutColoursWhereItIsNoTerminal) {
  testing::internal::CaptureStderr();
  log::debug("not shown");
  log::info("hello {}", 42);
  log::warning("careful");
  log::error("broken: {{}}");
  EXPECT_THAT(
      testing::internal::GetCapturedStderr(),
      MatchesRegex("[0-9:]{8} hello 42\n[0-9:]{8} warning: careful\n[0-9:]{8} error: broken: \\{\\}\n"));
}

TEST(Log, FileHasFullTimestampsAndAllLinesFromInfoOn) {
  const TemporaryDirectory directory;
  testing::internal::CaptureStderr();
  log::info("before the file");
  log::add_file(directory / "log.txt");
  log::set_level(log::Level::kError);
  log::debug("too fine");
  log::info("quiet on stderr");
  log::warning("careful");
  log::set_level(log::Level::kInfo);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr("careful")));
  const std::string stamp = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}[+-][0-9]{2}:[0-9]{2} ";
  // Complete before shutdown: a killed run keeps its last line.
  EXPECT_THAT(read_text(directory / "log.txt"),
              MatchesRegex(stamp + "quiet on stderr\n" + stamp + "warning: careful\n"));
  log::shutdown();
  testing::internal::CaptureStderr();
  log::info("after the file");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("after the file"));
  EXPECT_THAT(read_text(directory / "log.txt"), Not(HasSubstr("after the file")));
}

TEST(Log, AFileThatCannotBeOpenedIsARunErrorThatNamesIt) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", "");
  try {
    log::add_file(directory / "file" / "log.txt");
    FAIL();
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), HasSubstr("file/log.txt"));
  }
}

TEST(Log, ALineThatTheFileDoesNotTakeIsToldOnce) {
  testing::internal::CaptureStderr();
  log::add_file("/dev/full");
  log::info("first");
  log::info("second");
  try {
    log::require_written();
    FAIL();
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/dev/full: a line of the log could not be written: No space left"));
  }
  EXPECT_NO_THROW(log::require_written());
  log::shutdown();
  EXPECT_NO_THROW(log::require_written());
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("second"));
}

TEST(Log, ALineIsNotGluedToOneThatLacksItsEnd) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "log.txt", "whole\nto");
  testing::internal::CaptureStderr();
  log::add_file(directory / "log.txt");
  log::info("next");
  log::info("last");
  log::shutdown();
  testing::internal::GetCapturedStderr();
  EXPECT_THAT(read_text(directory / "log.txt"), MatchesRegex("whole\nto\n[^\n]* next\n[^\n]* last\n"));
}

TEST(Log, ATornLineStaysTornAlsoWhereTheNextOneIsNotWrittenAtAll) {
  const TemporaryDirectory directory;
  testing::internal::CaptureStderr();
  log::add_file(directory / "log.txt");
  log::info("whole");
  {
    const FileSizeLimit limit(core::read_text(directory / "log.txt").size() + 10);
    log::info("torn");
    log::info("lost");
    log::info("lost");
  }
  log::info("next");
  log::shutdown();
  testing::internal::GetCapturedStderr();
  EXPECT_THAT(read_text(directory / "log.txt"), MatchesRegex("[^\n]* whole\n[-0-9]{10}\n[^\n]* next\n"));
}

TEST(Log, AMessageForTheFileAloneDoesNotReachStderr) {
  const TemporaryDirectory directory;
  testing::internal::CaptureStderr();
  log::write_to_file("no file yet");
  log::add_file(directory / "log.txt");
  log::write_to_file("for the file");
  log::info("for both");
  log::shutdown();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), MatchesRegex("[0-9:]{8} for both\n"));
  EXPECT_THAT(read_text(directory / "log.txt"), MatchesRegex("[^\n]* for the file\n[^\n]* for both\n"));
}

TEST(FirstColumns, CutsBetweenCharacters) {
  EXPECT_EQ(first_columns("step 12", 4), "step");
  EXPECT_EQ(first_columns("step 12", 7), "step 12");
  EXPECT_EQ(first_columns("step 12", 80), "step 12");
  EXPECT_EQ(first_columns("step 12", 0), "");
  EXPECT_EQ(first_columns("\u00b5\u00b5s", 2), "\u00b5\u00b5");  // two bytes each
  EXPECT_EQ(first_columns("a\u20acb", 2), "a\u20ac");            // three
}

TEST(ProgressBar, IsOneSummaryLineWhereStderrIsNoTerminal) {
  testing::internal::CaptureStderr();
  {
    ProgressBar bar("tokenizing", "B", 1000);
    bar.advance(500);
    bar.finish("tokenized 500 bytes");
    bar.advance(500);
    bar.finish("again");
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), MatchesRegex("[0-9:]{8} tokenized 500 bytes\n"));
}

TEST(ProgressBar, SaysHowFarItCameWhereItEndsEarly) {
  testing::internal::CaptureStderr();
  {
    ProgressBar bar("reading", "B", 4096);
    bar.advance(1024);
  }
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("reading  25%, 1.0 KiB"));
}

TEST(Check, NamesTheConditionTheMessageAndThePlace) {
  const int heads = 3;
  try {
    SSGPT_CHECK(heads % 2 == 0, "{} heads", heads);
    FAIL();
  } catch (const InternalError& error) {
    EXPECT_THAT(error.what(), HasSubstr("3 heads"));
    EXPECT_THAT(error.what(), HasSubstr("heads % 2 == 0"));
    EXPECT_THAT(error.what(), HasSubstr("log_test.cpp:"));
  }
}

TEST(Log, AMessageIsPrintableAndNoLongerThanAParagraph) {
  const TemporaryDirectory directory;
  testing::internal::CaptureStderr();
  log::add_file(directory / "log.txt");
  log::info("{}", "first\nsecond \x1b[31mred\xff");
  log::warning("{}", std::string(10 << 20, 'x'));
  log::shutdown();
  for (const std::string& text : {testing::internal::GetCapturedStderr(), read_text(directory / "log.txt")}) {
    EXPECT_THAT(text, HasSubstr("first\nsecond \\x1b[31mred\\xff\n"));
    EXPECT_THAT(text, HasSubstr("xxx... (10.0 MiB more)\n"));
    EXPECT_LT(text.size(), 5000U);
  }
}

TEST(Error, IsPrintableAndNoLongerThanAParagraph) {
  EXPECT_STREQ(InputError("{}", "a\n\x1b[31m\xff").what(), "a\n\\x1b[31m\\xff");
  EXPECT_LT(std::string(InputError("{}", std::string(10 << 20, 'x')).what()).size(), 5000U);
}

}  // namespace
}  // namespace ssgpt::core
