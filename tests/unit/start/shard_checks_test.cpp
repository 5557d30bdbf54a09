#include "start/shard_checks.h"

#include "core/error.h"
#include "core/temporary_directory.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::start {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

// nanoGPT's format: uint16 and nothing else.
fs::path shard(const fs::path& path, uint16_t first) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  for (uint16_t i = 0; i < 100; ++i) {
    const auto id = static_cast<uint16_t>(first + i);
    file.write(reinterpret_cast<const char*>(&id), sizeof id);
  }
  return path;
}

void record(const fs::path& folder, const std::string& checksum) {
  std::ofstream(folder / "prepare.json")
      << R"({"complete": true, "settings": {"tokenizer": {"path": "made/with.model", "checksum": ")"
      << checksum << R"("}}})";
}

template <typename Check>
std::string refusal(const Check& check) {
  try {
    check();
  } catch (const core::Error& error) {
    return error.what();
  }
  return "";
}

class ShardChecks : public testing::Test {
 protected:
  ShardChecks() : a_(shard(root_ / "one/a.bin", 0)), b_(shard(root_ / "two/b.bin", 500)) {}

  std::string shared(const std::vector<fs::path>& training, const std::vector<fs::path>& validation) const {
    return refusal([&] { refuse_shared_shards(data::TokenSource(training), data::TokenSource(validation)); });
  }
  std::string other_tokenizers(const std::string& fingerprint) const {
    const std::vector<Prepared> both = {read_prepared(data::TokenSource({a_})),
                                        read_prepared(data::TokenSource({b_}))};
    std::optional<fs::path> tokenizer;
    if (!fingerprint.empty()) tokenizer = "now/t.model";
    return refusal([&] { refuse_other_tokenizers(both, tokenizer, fingerprint); });
  }

  const TemporaryDirectory root_;
  const fs::path a_;
  const fs::path b_;
};

TEST_F(ShardChecks, AShardToTrainOnIsNoneToValidateOn) {
  EXPECT_EQ(shared({a_}, {b_}), "");
  EXPECT_THAT(shared({a_, b_}, {b_}), HasSubstr(b_.string() + " is in both"));
  const fs::path again = root_ / "one/../one/./a.bin";
  EXPECT_THAT(shared({a_}, {again}), HasSubstr("is in both"));
  const fs::path link = root_ / "link.bin";
  fs::create_symlink(a_, link);
  EXPECT_THAT(shared({a_}, {b_, link}), HasSubstr("is in both"));
}

TEST_F(ShardChecks, TheSameTokensUnderAnotherNameAreTheSameShard) {
  const fs::path copy = root_ / "copy.bin";
  fs::copy_file(a_, copy);
  EXPECT_THAT(shared({b_, a_}, {copy}), HasSubstr(a_.string() + " holds the same as " + copy.string()));
  shard(copy, 1);
  EXPECT_EQ(shared({b_, a_}, {copy}), "");
}

TEST_F(ShardChecks, AllShardsAndTheConfigHaveOneTokenizer) {
  EXPECT_EQ(other_tokenizers("x"), "");  // the shards do not say
  record(root_ / "one", "x");
  EXPECT_EQ(other_tokenizers("x"), "");
  EXPECT_EQ(other_tokenizers(""), "");  // the config names none
  EXPECT_THAT(other_tokenizers("y"),
              AllOf(HasSubstr((root_ / "one").string()), HasSubstr("made/with.model (checksum x"),
                    HasSubstr("now/t.model, has checksum y")));
  record(root_ / "two", "z");
  EXPECT_THAT(other_tokenizers("x"), HasSubstr((root_ / "two").string()));
  EXPECT_THAT(other_tokenizers(""), AllOf(HasSubstr("checksum z"), HasSubstr("has checksum x")));
}

TEST_F(ShardChecks, ARecordOfAnotherShapeSaysNothingAndADamagedOneIsNamed) {
  for (const char* text : {"{}", R"({"settings": null})", R"({"settings": {"tokenizer": null}})",
                           R"({"settings": {"tokenizer": {"checksum": 3}}})"}) {
    std::ofstream(root_ / "one/prepare.json") << text;
    EXPECT_EQ(other_tokenizers("y"), "") << text;
  }
  std::ofstream(root_ / "one/prepare.json") << "[";
  EXPECT_THAT(refusal([&] { read_prepared(data::TokenSource({a_})); }), HasSubstr("prepare.json"));
}

}  // namespace
}  // namespace ssgpt::start
