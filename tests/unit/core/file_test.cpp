#include "core/file.h"

#include "core/error.h"
#include "core/message_of.h"
#include "core/temporary_directory.h"

#include <array>
#include <cstddef>
#include <fcntl.h>
#include <functional>
#include <signal.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(directory)) {
    names.push_back(item.path().filename().string());
  }
  return names;
}

// Runs `action` in a child process; returns the status that waitpid gives.
int status_of_child(const std::function<void()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    action();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

std::string read_range(const InputFile& file, uint64_t offset, size_t count) {
  std::string text(count, '\0');
  file.read(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

TEST(InputFile, ReadsAnyRange) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", "0123456789");
  InputFile file(directory / "file");
  EXPECT_EQ(file.size(), 10u);
  EXPECT_EQ(read_range(file, 3, 4), "3456");
  std::array<std::byte, 8> out{};
  EXPECT_EQ(file.read_some(6, out), 4u);
  EXPECT_EQ(file.read_some(10, out), 0u);
  const InputFile moved = std::move(file);
  EXPECT_EQ(read_range(moved, 9, 1), "9");
  EXPECT_EQ(read_text(directory / "file"), "0123456789");
}

TEST(InputFile, NamesWhatIsWrong) {
  const TemporaryDirectory directory;
  EXPECT_THAT(message_of<InputError>([&] { InputFile(directory / "none"); }),
              HasSubstr("none: no such file"));
  EXPECT_THAT(message_of<InputError>([&] { InputFile(directory.path()); }),
              HasSubstr("a directory where a file"));
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(message_of<InputError>([&] { InputFile(directory / "fifo"); }),
              HasSubstr("not a regular file"));
  write_text_atomically(directory / "secret", "x");
  fs::permissions(directory / "secret", fs::perms::none);
  if (::geteuid() != 0) {  // root may read everything
    EXPECT_THAT(message_of<ReadError>([&] { InputFile(directory / "secret"); }),
                HasSubstr("Permission denied"));
  }
}

TEST(InputFile, AFileThatShrankIsAnErrorWithItsPlace) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", std::string(10000, 'x'));
  const InputFile file(directory / "file");
  EXPECT_THAT(message_of<InputError>([&] { read_range(file, 9999, 2); }), HasSubstr("ends at byte 10000"));
  fs::resize_file(directory / "file", 100);
  EXPECT_THAT(message_of<InputError>([&] { read_range(file, 50, 100); }), HasSubstr("ends at byte 100"));
}

TEST(AtomicFile, AppearsAtCommitWithAllThatWasWritten) {
  const TemporaryDirectory directory;
  std::string expected;
  {
    AtomicFile file(directory / "file");
    file.write(std::string_view("head"));
    expected = "head";
    for (int i = 0; i < 50; ++i) {  // pieces around the size of the buffer, 1 MiB
      const std::string piece(static_cast<size_t>(i * 60'000), static_cast<char>('a' + i % 26));
      file.write(piece);
      expected += piece;
    }
    file.write_at(1, std::as_bytes(std::span(std::string_view("EA"))));
    file.write(std::string_view("tail"));
    expected.replace(1, 2, "EA");
    expected += "tail";
    EXPECT_EQ(file.bytes_written(), expected.size());
    EXPECT_FALSE(fs::exists(directory / "file"));
    file.commit();
  }
  EXPECT_EQ(read_text(directory / "file"), expected);
  EXPECT_THAT(names_in(directory.path()), ElementsAre("file"));
}

TEST(AtomicFile, WithoutCommitLeavesTheEarlierFile) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", "earlier");
  {
    AtomicFile file(directory / "file");
    file.write(std::string_view("later"));
  }
  EXPECT_EQ(read_text(directory / "file"), "earlier");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("file"));
}

TEST(AtomicFile, AKilledProcessLeavesNothingUnderTheFinalName) {
  const TemporaryDirectory directory;
  const int status = status_of_child([&] {
    AtomicFile file(directory / "file");
    file.write(std::string(3 << 20, 'x'));
    ::kill(::getpid(), SIGKILL);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  const std::vector<std::string> names = names_in(directory.path());
  ASSERT_EQ(names.size(), 1u);
  EXPECT_TRUE(AtomicDirectory::is_temporary_name(names[0])) << names[0];
}

TEST(AtomicFile, AFullDiskIsARunErrorAndLeavesNothing) {
  const TemporaryDirectory directory;
  const int status = status_of_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);  // then a write beyond the limit fails with EFBIG
    const rlimit limit{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string message = message_of<RunError>([&] {
      AtomicFile file(directory / "file");
      file.write(std::string(3 << 20, 'x'));
      file.commit();
    });
    ::_exit(message.find("/file: writing failed") != std::string::npos ? 0 : 1);
  });
  EXPECT_EQ(status, 0);
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
}

TEST(AtomicFile, NamesThePathThatCannotBeWritten) {
  const TemporaryDirectory directory;
  EXPECT_THAT(message_of<RunError>([&] { AtomicFile(directory / "none" / "file"); }), HasSubstr("none/file"));
  EXPECT_THAT(message_of<RunError>([&] { AtomicFile file(directory.path()); }), HasSubstr("is a folder"));
}

TEST(AtomicFile, IsNotInheritedByOtherPrograms) {
  const TemporaryDirectory directory;
  const int first_free = ::open("/dev/null", O_RDONLY);
  ::close(first_free);
  const AtomicFile file(directory / "file");
  EXPECT_TRUE(::fcntl(first_free, F_GETFD) & FD_CLOEXEC);
}

TEST(AtomicDirectory, AppearsAtCommitAndIsRemovedWithoutIt) {
  const TemporaryDirectory directory;
  {
    AtomicDirectory made(directory / "a" / "step-1");
    write_text_atomically(made.temporary() / "file", "text");
    EXPECT_FALSE(fs::exists(directory / "a" / "step-1"));
    made.commit();
  }
  EXPECT_EQ(read_text(directory / "a" / "step-1" / "file"), "text");
  {
    const AtomicDirectory dropped(directory / "a" / "step-2");
    write_text_atomically(dropped.temporary() / "file", "text");
  }
  EXPECT_THAT(names_in(directory / "a"), ElementsAre("step-1"));
}

TEST(AtomicDirectory, AKilledProcessLeavesOnlyATemporaryName) {
  const TemporaryDirectory directory;
  const int status = status_of_child([&] {
    const AtomicDirectory made(directory / "step-1");
    write_text_atomically(made.temporary() / "file", "text");
    ::kill(::getpid(), SIGKILL);
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  const std::vector<std::string> names = names_in(directory.path());
  ASSERT_EQ(names.size(), 1u);
  EXPECT_TRUE(AtomicDirectory::is_temporary_name(names[0])) << names[0];
}

TEST(AtomicDirectory, NeverReplacesOneThatHoldsFiles) {
  const TemporaryDirectory directory;
  fs::create_directory(directory / "taken");
  write_text_atomically(directory / "taken" / "file", "text");
  AtomicDirectory made(directory / "taken");
  EXPECT_THAT(message_of<RunError>([&] { made.commit(); }), HasSubstr("taken"));
  EXPECT_EQ(read_text(directory / "taken" / "file"), "text");
}

TEST(AtomicDirectory, TellsTemporaryNamesFromOthers) {
  EXPECT_TRUE(AtomicDirectory::is_temporary_name(".step-00000300.tmp-123-0"));
  for (const char* name :
       {"step-00000300", ".tmp-1-2", ".a.tmp-1", ".a.tmp-x-1", "a.tmp-1-2", ".a.tmp-1-2.bin", ""}) {
    EXPECT_FALSE(AtomicDirectory::is_temporary_name(name)) << name;
  }
}

TEST(CreateWritableDirectory, CreatesParentsAndRefusesAFile) {
  const TemporaryDirectory directory;
  create_writable_directory(directory / "a" / "b");
  create_writable_directory(directory / "a" / "b");
  EXPECT_THAT(names_in(directory / "a" / "b"), IsEmpty());
  write_text_atomically(directory / "file", "");
  EXPECT_THAT(message_of<RunError>([&] { create_writable_directory(directory / "file"); }),
              HasSubstr("file"));
  EXPECT_THAT(message_of<RunError>([&] { create_writable_directory(directory / "file" / "x"); }),
              HasSubstr("file/x"));
}

TEST(ExpandGlobs, SortsWithinAPatternAndGivesEachPathOnce) {
  const TemporaryDirectory directory;
  for (const char* name :
       {"train_2.bin", "train_10.bin", "train_1.bin", "other.bin", ".train_3.bin.tmp-1-0"}) {
    write_text_atomically(directory / name, "");
  }
  const std::string base = directory.path().string();
  EXPECT_THAT(
      expand_globs({base + "/train_2.bin", base + "/./train_*.bin"}),
      ElementsAre(directory / "train_2.bin", directory / "./train_1.bin", directory / "./train_10.bin"));
  EXPECT_THAT(message_of<InputError>([&] { expand_globs({base + "/none_*.bin"}); }), HasSubstr("none_*.bin"));
  EXPECT_THAT(message_of<InputError>([&] { expand_globs({base + "/none.bin"}); }), HasSubstr("no such file"));
}

TEST(ExpandGlobs, ANameThatExistsIsThatFile) {
  const TemporaryDirectory directory;
  const std::string base = directory.path().string() + "/";
  for (const char* name : {"part[1].bin", "part1.bin", "a*.bin", "ab.bin", "what?.bin", "back\\slash.bin"}) {
    write_text_atomically(base + name, "");
  }
  for (const char* name : {"part[1].bin", "a*.bin", "what?.bin", "back\\slash.bin"}) {
    EXPECT_THAT(expand_globs({base + name}), ElementsAre(base + name)) << name;
  }
  EXPECT_THAT(expand_globs({base + "part[1-9].bin"}), ElementsAre(base + "part1.bin"));
  EXPECT_THAT(expand_globs({base + "part\\[1\\].bin"}), ElementsAre(base + "part[1].bin"));
}

TEST(ExpandGlobs, APatternLiesInFoldersThatExistAsWritten) {
  const TemporaryDirectory directory;
  const std::string base = directory.path().string() + "/";
  for (const char* name : {"of [2]", "of 2", "a*", "ab"}) {
    fs::create_directory(base + name);
    write_text_atomically(base + name + "/x1.bin", "");
  }
  EXPECT_THAT(expand_globs({base + "of [2]/x*.bin"}), ElementsAre(base + "of [2]/x1.bin"));
  EXPECT_THAT(expand_globs({base + "a*/x?.bin"}), ElementsAre(base + "a*/x1.bin"));
  // No folder of that name: a pattern from there on.
  EXPECT_THAT(expand_globs({base + "of [1-3]/x*.bin"}), ElementsAre(base + "of 2/x1.bin"));
  // The folder of that name holds nothing that matches.
  write_text_atomically(base + "ab/y.bin", "");
  EXPECT_THAT(expand_globs({base + "a*/y*.bin"}), ElementsAre(base + "ab/y.bin"));
}

TEST(ExpandGlobs, SaysThatAPatternMatchesNothing) {
  const TemporaryDirectory directory;
  const std::string base = directory.path().string() + "/";
  for (const char* pattern : {"none[1].bin", "none*.bin", "none/x?.bin"}) {
    EXPECT_EQ(message_of<InputError>([&] { expand_globs({base + pattern}); }),
              base + pattern + ": no such file, and nothing matches it as a pattern");
  }
  EXPECT_EQ(message_of<InputError>([&] { expand_globs({base + "none.bin"}); }),
            base + "none.bin: no such file");
}

TEST(ReadText, RefusesWhatIsLargerThanAllowed) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "f", "12345");
  EXPECT_EQ(read_text(directory / "f", 5), "12345");
  EXPECT_THAT(message_of<InputError>([&] { read_text(directory / "f", 4); }), HasSubstr("larger than 4 B"));
}

TEST(IsNameInside, TakesRelativePathsWithoutStepsUpwards) {
  for (const char* name : {"a", "a.b", "a/b", "trainer/state.json", "..a", "a..", "a b"}) {
    EXPECT_TRUE(is_name_inside(name)) << name;
  }
  for (const char* name : {"", "/", "/a", "..", "../a", "a/..", "a/../b", "a/", "a//b", ".", "./a", "a/."}) {
    EXPECT_FALSE(is_name_inside(name)) << name;
  }
  EXPECT_FALSE(is_name_inside(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace ssgpt::core
