#include "core/outputs.h"

#include "core/error.h"
#include "core/file.h"
#include "core/message_of.h"
#include "core/temporary_directory.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Outputs : public testing::Test {
 protected:
  Outputs() {
    fs::create_directories(directory_ / "model/trainer");
    fs::create_directories(directory_ / "models");
    write_text_atomically(directory_ / "model/weights", "weights");
    write_text_atomically(directory_ / "shard", "tokens");
    fs::create_symlink(directory_ / "shard", directory_ / "link");
    fs::create_directory_symlink(directory_ / "model", directory_ / "alias");
  }
  const TemporaryDirectory directory_;
};

TEST_F(Outputs, OfTheSameFileHaveAnyName) {
  const fs::path shard = directory_ / "shard";
  EXPECT_TRUE(is_same_file(shard, directory_ / "models/../shard"));
  EXPECT_TRUE(is_same_file(shard, directory_ / "link"));
  EXPECT_FALSE(is_same_file(shard, directory_ / "model/weights"));
  EXPECT_FALSE(is_same_file(shard, directory_ / "absent"));
  EXPECT_FALSE(is_same_file(directory_ / "absent", directory_ / "absent"));
}

TEST_F(Outputs, AreOnePathWhetherOrNotTheyExist) {
  EXPECT_TRUE(is_same_path(directory_ / "shard", directory_ / "link"));
  EXPECT_TRUE(is_same_path(directory_ / "alias/absent", directory_ / "models/../model/absent"));
  EXPECT_FALSE(is_same_path(directory_ / "absent", directory_ / "model/absent"));
}

TEST_F(Outputs, LieUnderAFolderByWhereTheyStand) {
  const fs::path model = directory_ / "model";
  for (const char* name : {"model/weights", "model/absent", "model/trainer/state", "model/none/deep/absent",
                           "alias/weights", "models/../model/absent"})
    EXPECT_TRUE(lies_under(directory_ / name, model)) << name;
  EXPECT_TRUE(lies_under(directory_ / "model/absent", directory_ / "alias/"));
  for (const char* name : {"absent", "models/absent", "model/../absent", "model", "alias"})
    EXPECT_FALSE(lies_under(directory_ / name, model)) << name;
  EXPECT_FALSE(lies_under(directory_ / "none/absent", directory_ / "none"));
  // A link is replaced where it stands, whatever it leads to.
  fs::create_symlink(model / "weights", directory_ / "out");
  fs::create_symlink(directory_ / "shard", model / "shard");
  EXPECT_FALSE(lies_under(directory_ / "out", model));
  EXPECT_TRUE(lies_under(model / "shard", model));
}

TEST_F(Outputs, OfARelativePathLieUnderTheWorkingDirectory) {
  EXPECT_TRUE(lies_under("absent", "."));
  EXPECT_TRUE(lies_under("none/absent", fs::current_path()));
  EXPECT_FALSE(lies_under("../absent", "."));
  EXPECT_FALSE(lies_under("absent", directory_.path()));
}

TEST_F(Outputs, OverAnInputAreRefused) {
  const std::vector<fs::path> inputs = {directory_ / "model/weights", directory_ / "shard"};
  const fs::path output = directory_ / "link";
  EXPECT_THAT(message_of<UsageError>([&] { refuse_output_over_input("--out", output, inputs); }),
              HasSubstr("--out " + output.string() + ": it is an input as well"));
  EXPECT_NO_THROW(refuse_output_over_input("--out", directory_ / "absent", inputs));
  EXPECT_NO_THROW(refuse_output_over_input("--out", directory_ / "link", {}));
}

}  // namespace
}  // namespace ssgpt::core
