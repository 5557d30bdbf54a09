// Files that the system does not open or list, or that are not what their name says.
#include "core/error.h"
#include "core/file.h"
#include "core/message_of.h"
#include "core/process.h"
#include "core/process_limits.h"
#include "core/temporary_directory.h"

#include <algorithm>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

TEST(FailingFiles, TooManyOpenFilesAreNoFaultOfTheFile) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file.bin", "text");
  const NoMoreFiles none;
  const auto names_the_limit =
      AllOf(HasSubstr("Too many open files"), HasSubstr("32 files open (RLIMIT_NOFILE)"));
  EXPECT_THAT(message_of<ReadError>([&] { read_text(directory / "file.bin"); }),
              AllOf(HasSubstr("file.bin"), names_the_limit));
  EXPECT_THAT(message_of<ReadError>([&] { list_directory(directory.path()); }), names_the_limit);
  EXPECT_THAT(message_of<ReadError>([&] { expand_globs({directory.path().string() + "/*.bin"}); }),
              names_the_limit);
  EXPECT_THAT(message_of<RunError>([&] { write_text_atomically(directory / "other", ""); }), names_the_limit);
  EXPECT_THAT(message_of<RunError>([&] { open_for_appending(directory / "other"); }), names_the_limit);
}

TEST(FailingFiles, ExitCodesTellTheMachinesFaultFromTheFiles) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", "text");
  try {
    const NoMoreFiles none;
    read_text(directory / "file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kFailed);
  }
  for (const char* path : {"absent", "file/below"}) {
    EXPECT_THAT(message_of<InputError>([&] { read_text(directory / path); }), HasSubstr(path));
  }
}

TEST(Exists, IsFalseOfAMissingFileAloneAndNeverOfOneThatNobodyCouldLookFor) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", "");
  fs::create_directory(directory / "folder");
  fs::create_symlink("file", directory / "link");
  fs::create_symlink("absent", directory / "dangling");
  fs::create_symlink("circle", directory / "circle");
  for (const char* name : {"file", "folder", "link"}) EXPECT_TRUE(core::exists(directory / name)) << name;
  for (const char* name : {"absent", "dangling", "file/below", "absent/below"}) {
    EXPECT_FALSE(core::exists(directory / name)) << name;
    EXPECT_FALSE(core::is_directory(directory / name)) << name;
    EXPECT_FALSE(core::is_regular_file(directory / name)) << name;
  }
  EXPECT_TRUE(core::is_directory(directory / "folder") && !core::is_directory(directory / "link"));
  EXPECT_TRUE(core::is_regular_file(directory / "link") && !core::is_regular_file(directory / "folder"));
  EXPECT_EQ(link_status(directory / "dangling").type(), fs::file_type::symlink);
  EXPECT_EQ(link_status(directory / "absent").type(), fs::file_type::not_found);
  for (const std::string& name : {std::string("circle"), std::string(300, 'x')}) {
    EXPECT_THAT(message_of<InputError>([&] { core::exists(directory / name); }),
                HasSubstr(name + ": cannot be looked for"))
        << name;
  }
  EXPECT_THAT(message_of<InputError>([&] { link_status(directory / std::string(300, 'x')); }),
              HasSubstr("File name too long"));
}

TEST(Exists, OfAFolderThatMayNotBeSearchedIsABadInput) {
  if (::geteuid() != 0) GTEST_SKIP() << "another user is root's to become";
  const TemporaryDirectory directory;
  fs::create_directory(directory / "closed");
  fs::permissions(directory / "closed", fs::perms::owner_all);
  ASSERT_EQ(::seteuid(65534), 0);
  std::optional<ExitCode> code;
  try {
    core::exists(directory / "closed/file");
  } catch (const ReadError& error) {
    code = error.code();
  }
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_EQ(code, ExitCode::kBadInput);
}

TEST(ListDirectory, GivesWhatIsThereAndNothingOfAMissingOne) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", "");
  fs::create_directory(directory / "folder");
  EXPECT_THAT(list_directory(directory.path()),
              UnorderedElementsAre(directory / "file", directory / "folder"));
  EXPECT_TRUE(list_directory(directory / "absent").empty());
  EXPECT_THAT(message_of<InputError>([&] { list_directory(directory / "file"); }), HasSubstr("file"));
}

TEST(RemoveTemporaries, TakesWhatTheCallerOwnsAndNothingElse) {
  const TemporaryDirectory directory;
  const std::vector<std::string> kept = {".other.tmp-1-2", "run.json", ".run.json.tmp-1", "run.json.tmp-1-2"};
  for (const std::string& name : kept) write_text_atomically(directory / name, "");
  write_text_atomically(directory / ".run.json.tmp-1-2", "");
  write_text_atomically(directory / ".write-test.tmp-1-2", "");
  fs::create_directories(directory / ".step-1.tmp-1-2" / "trainer");
  remove_temporaries(directory.path(),
                     [](std::string_view name) { return name == "run.json" || name == "step-1"; });
  std::vector<std::string> left;
  for (const fs::path& path : list_directory(directory.path())) left.push_back(path.filename().string());
  EXPECT_THAT(left, testing::UnorderedElementsAreArray(kept));
}

TEST(OpenForAppending, TakesAFileAndNoLinkFolderOrFifo) {
  const TemporaryDirectory directory;
  const int descriptor = open_for_appending(directory / "file");
  ASSERT_EQ(::write(descriptor, "a", 1), 1);
  ::close(descriptor);
  fs::create_symlink("file", directory / "link");
  fs::create_symlink("absent", directory / "dangling");
  fs::create_directory(directory / "folder");
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  const int reader = ::open((directory / "fifo").c_str(), O_RDONLY | O_NONBLOCK);
  for (const char* name : {"link", "dangling", "folder", "fifo"}) {
    EXPECT_THAT(message_of<RunError>([&] { open_for_appending(directory / name); }), HasSubstr(name));
  }
  ::close(reader);
  EXPECT_THAT(message_of<RunError>([&] { open_for_appending(directory / "fifo"); }),
              HasSubstr("not a regular file"));
  EXPECT_EQ(read_text(directory / "file"), "a");
  EXPECT_FALSE(fs::exists(directory / "absent"));
}

TEST(RaiseOpenFileLimit, GoesToTheHardLimit) {
  rlimit earlier{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &earlier), 0);
  rlimit low = earlier;
  low.rlim_cur = 64;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  raise_open_file_limit();
  rlimit raised{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &raised), 0);
  EXPECT_EQ(raised.rlim_cur, std::min<rlim_t>(earlier.rlim_max, 1 << 20));
  EXPECT_EQ(raised.rlim_max, earlier.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &earlier);
}

}  // namespace
}  // namespace ssgpt::core
