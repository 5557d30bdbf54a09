#include "report/draw_command.h"

#include "core/temporary_directory.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

namespace fs = std::filesystem;

class DrawCommandTest : public testing::Test {
 protected:
  void make_scripts(const std::string& folder) {
    fs::create_directories(root_ / folder / "report_page");
    std::ofstream(root_ / folder / "report.py") << "#";
  }
  std::string command_of(const std::string& program, const fs::path& here) {
    return draw_command("runs/a b", root_ / program, here);
  }
  std::string in_root(const std::string& name) { return (root_ / name).string(); }

  TemporaryDirectory root_;
};

TEST_F(DrawCommandTest, NamesTheRepositorysScriptAndPythonForABuild) {
  make_scripts("scripts");
  EXPECT_EQ(command_of("build/release/ssgpt", root_.path()), "python3 scripts/report.py 'runs/a b'");
  fs::create_directories(root_ / ".venv/bin");
  std::ofstream(root_ / ".venv/bin/python") << "#";
  EXPECT_EQ(command_of("build/release/ssgpt", root_.path()), ".venv/bin/python scripts/report.py 'runs/a b'");
  EXPECT_EQ(command_of("build/release/ssgpt", root_ / "docs"),
            in_root(".venv/bin/python") + " " + in_root("scripts/report.py") + " 'runs/a b'");
}

TEST_F(DrawCommandTest, NamesTheInstalledScript) {
  make_scripts("usr/share/ssgpt/scripts");
  make_scripts("scripts");  // of something else
  EXPECT_EQ(command_of("usr/bin/ssgpt", "/"),
            "python3 " + in_root("usr/share/ssgpt/scripts/report.py").substr(1) + " 'runs/a b'");
}

TEST_F(DrawCommandTest, NamesTheScriptOfAnArchive) {
  make_scripts("share/ssgpt/scripts");
  EXPECT_EQ(command_of("lib/ssgpt/ssgpt", root_.path()), "python3 share/ssgpt/scripts/report.py 'runs/a b'");
}

TEST_F(DrawCommandTest, NamesTheScriptAloneWhereThereIsNone) {
  fs::create_directories(root_ / "scripts");
  std::ofstream(root_ / "scripts/report.py") << "#";  // without its modules: of another program
  EXPECT_EQ(command_of("build/release/ssgpt", root_.path()), "scripts/report.py 'runs/a b'");
}

TEST(DrawCommand, EndsWithTheScriptAndTheFolderForThisProcess) {
  EXPECT_TRUE(draw_command("runs/x").ends_with("scripts/report.py runs/x"));
}

}  // namespace
}  // namespace ssgpt::report
