// Moments in one file for each rank: what the files hold, and sets of files that do not fit together.
#include "checkpoint/optimizer_files.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/ranks.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/snapshots.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using Ranges = std::vector<core::Range>;

const config::AttentionConfig kLearned = {
    .kind = AttentionKind::kLearnedPn, .scale_init = 0.43, .bias_init = 0.25};
const std::string kCut = "model.layers.1.mlp.up_proj.weight";  // (20, 12)

// A checkpoint whose moments lie in one file for each of `shares`.
class OptimizerFiles : public testing::Test {
 protected:
  OptimizerFiles() { write(path_, whole_); }

  // The shares: rank 0 up to element 100 of kCut and from its element 150 on, rank 1 between, rank 2 padding
  // alone.
  std::vector<Ranges> shares() const {
    const int64_t start = find(whole_.flat, kCut)->offset;
    const int64_t size = whole_.flat.master.numel();
    return {{{.begin = 0, .end = start + 100}, {.begin = start + 150, .end = size}},
            {{.begin = start + 100, .end = start + 120}, {.begin = start + 120, .end = start + 150}},
            {{.begin = size, .end = size + 64}}};
  }

  std::filesystem::path file(size_t rank, size_t world_size = 3) const {
    return path_ / optimizer_file_name(static_cast<int64_t>(rank), static_cast<int64_t>(world_size));
  }

  void write_shares(const std::vector<Ranges>& shares) {
    std::filesystem::remove(file(0, 1));
    for (size_t rank = 0; rank < shares.size(); ++rank) {
      write_optimizer_file(file(rank, shares.size()), share_of(whole_, shares[rank]).flat);
    }
    list_files();
  }

  // Makes the manifest that of the files as they are: only what is in them can be wrong.
  void list_files() const {
    Manifest manifest;
    for (const auto& path : files_below(path_)) {
      const std::string name = path.lexically_relative(path_).string();
      if (name != kManifestName) {
        manifest.files[name] = {.size = std::filesystem::file_size(path),
                                .checksum = core::checksum_of_file(path)};
      }
    }
    write_manifest(path_, manifest);
  }

  // The fault that reading finds.
  std::string fault() const {
    try {
      read(path_, /*with_optimizer=*/true);
    } catch (const core::InputError& error) {
      return error.what();
    }
    return "";
  }

  void replace_in_file(size_t rank, const std::string& text, const std::string& by) const {
    std::string bytes = core::read_text(file(rank));
    ASSERT_EQ(text.size(), by.size());
    ASSERT_NE(bytes.find(text), std::string::npos) << text;
    bytes.replace(bytes.find(text), text.size(), by);
    write_bytes(file(rank), bytes);
    list_files();
  }

  const TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_ / "c";
  const Snapshot whole_ = random_snapshot(AttentionKind::kSsmaxBias);
};

TEST_F(OptimizerFiles, SayWhatTheyHold) {
  write_shares(shares());
  const SafetensorsFile outer(file(0));
  const SafetensorsFile inner(file(1));
  const SafetensorsFile empty(file(2));
  const auto ranges_of = [](const SafetensorsFile& of) {
    return nlohmann::json::parse(of.metadata().at("ranges"));
  };
  EXPECT_EQ(ranges_of(outer)[kCut], nlohmann::json({0, 100, 150, 240}));
  EXPECT_EQ(ranges_of(inner), nlohmann::json({{kCut, {100, 150}}}));  // ranges that touch are one
  EXPECT_EQ(ranges_of(empty), nlohmann::json::object());
  EXPECT_EQ(ranges_of(outer)["lm_head.weight"], nlohmann::json({0, 37 * 12}));
  EXPECT_EQ(outer.find("lm_head.weight.exp_avg")->shape, (std::vector<int64_t>{37, 12}));
  EXPECT_EQ(outer.find(kCut + ".exp_avg_sq")->shape, std::vector<int64_t>{190});
  EXPECT_EQ(inner.entries().size(), 2U);
  EXPECT_THAT(empty.entries(), IsEmpty());
  std::vector<float> values(190);
  outer.read(*outer.find(kCut + ".exp_avg"), values);
  const float* moment = whole_.flat.exp_avg.const_data_ptr<float>() + find(whole_.flat, kCut)->offset;
  EXPECT_EQ(values[99], moment[99]);
  EXPECT_EQ(values[100], moment[150]);
  EXPECT_EQ(values[189], moment[239]);
  EXPECT_THAT(verify(path_), IsEmpty());
  expect_equal_tensors(whole_.flat, read(path_, true).flat, /*moments=*/true);
}

TEST_F(OptimizerFiles, OfOneRankThatHoldsAllAreThoseOfOneProcess) {
  const std::string alone = core::read_text(file(0, 1));
  write_shares({{{.begin = 0, .end = 1234}, {.begin = 1234, .end = whole_.flat.master.numel() + 64}}});
  EXPECT_EQ(core::read_text(file(0, 1)), alone);
}

TEST_F(OptimizerFiles, AreReadWithAnotherAttentionAsThoseOfOneProcess) {
  const Snapshot alone = with_attention(read(path_, true), kLearned);
  write_shares(shares());
  const Snapshot shared = with_attention(read(path_, true), kLearned);
  expect_equal_tensors(alone.flat, shared.flat, /*moments=*/true);
}

TEST_F(OptimizerFiles, AMissingOneIsNamed) {
  write_shares(shares());
  const std::string name = optimizer_file_name(1, 3);
  const std::string bytes = core::read_text(file(1));
  std::filesystem::remove(file(1));
  EXPECT_THAT(fault(), HasSubstr(name));  // the manifest lists it
  EXPECT_THAT(verify(path_), testing::ElementsAre(HasSubstr(name)));
  list_files();
  EXPECT_THAT(fault(), HasSubstr("does not list " + name));
  EXPECT_THAT(verify(path_), testing::ElementsAre(HasSubstr("does not list " + name)));
  write_bytes(file(1), bytes);
  EXPECT_THAT(fault(), HasSubstr("does not list " + name));
  list_files();
  EXPECT_EQ(fault(), "");
}

TEST_F(OptimizerFiles, OfTwoWorldSizesAreNotMixed) {
  const std::string alone = core::read_text(file(0, 1));
  write_shares(shares());
  write_bytes(file(0, 1), alone);
  for (const bool listed : {false, true}) {
    if (listed) list_files();
    EXPECT_THAT(fault(), HasSubstr("written by 1 and by 3 ranks are mixed"));
    EXPECT_THAT(verify(path_), testing::ElementsAre(HasSubstr("mixed")));
  }
}

TEST_F(OptimizerFiles, AGapOrAnOverlapNamesParameterAndElements) {
  std::vector<Ranges> wrong = shares();
  wrong[1].pop_back();
  write_shares(wrong);
  EXPECT_THAT(fault(), AllOf(HasSubstr("no optimizer file"), HasSubstr("elements 120 to 149 of " + kCut)));

  wrong = shares();
  wrong[1].back().end -= 1;
  write_shares(wrong);
  EXPECT_THAT(fault(), HasSubstr("elements 149 to 149 of " + kCut));

  wrong = shares();
  wrong[1].front().begin -= 3;
  write_shares(wrong);
  EXPECT_THAT(fault(), AllOf(HasSubstr("elements 97 to 99 of " + kCut), HasSubstr("optimizer-00000-of-00003"),
                             HasSubstr("optimizer-00001-of-00003")));

  wrong = shares();
  wrong[0].back().end = find(whole_.flat, "lm_head.weight")->offset;
  write_shares(wrong);
  EXPECT_THAT(fault(), HasSubstr("elements 0 to 443 of lm_head.weight"));
}

TEST_F(OptimizerFiles, AFileThatDoesNotFitTheModelIsNamed) {
  const auto specs = model::parameter_specs(whole_.spec.config, whole_.spec.sequence_length);
  const auto expect = [&](const std::string& text, const std::string& by, const std::string& message) {
    write_shares(shares());
    replace_in_file(1, text, by);
    EXPECT_THAT(fault(), AllOf(HasSubstr(optimizer_file_name(1, 3)), HasSubstr(message))) << by;
    // From its header alone.
    EXPECT_THROW(check_optimizer_files(find_optimizer_files(path_), specs), core::InputError) << by;
  };
  expect(kCut + ".exp_avg\"", kCut + ".exp_avh\"", "'" + kCut + ".exp_avg' is missing");
  expect("[100,150]", "[100,149]", "has shape [50]; config.json asks for [49]");
  expect("[100,150]", "[150,100]", "says [150,100] of " + kCut + ", where rising ranges within its 240");
  expect("[100,150]", "[191,241]", "says [191,241]");
  expect("[100,150]", "[-10,150]", "says [-10,150]");
  expect("[100,150]", "[100.150]", "says [100.15]");
  expect("[100,150]", "9223372.0", "says 9223372.0");
  expect("\"ranges\"", "\"rangez\"", "metadata 'ranges'");
  expect("\\\"" + kCut, "\\\"nodel" + kCut.substr(5),
         "'nodel.layers.1.mlp.up_proj.weight', which is not part");
  expect("\"F32\"", "\"I32\"", "has dtype I32");
}

TEST(OptimizerFileNames, OnlyTheirExactSpellingCounts) {
  EXPECT_EQ(optimizer_file_name(3, 16), "trainer/optimizer-00003-of-00016.safetensors");
  for (const char* other :
       {"trainer/optimizer-3-of-16.safetensors", "trainer/optimizer-00016-of-00016.safetensors",
        "trainer/optimizer-00003-of-00016.safetensors.bak", "trainer/state.json",
        "optimizer-00003-of-00016.safetensors", "trainer/optimizer-", "",
        "trainer/optimizer-00000-of-9223372036854775807.safetensors"}) {
    EXPECT_EQ(optimizer_file_set({other}).world_sizes, std::vector<int64_t>{1}) << other;
  }
  EXPECT_EQ(optimizer_file_set({"trainer/optimizer-00003-of-00016.safetensors"}).names.size(), 16U);
}

// Another layout: what stands before and between the shared parameters differs.
TEST(LoadIntoShares, GivesEachRankItsElements) {
  const Snapshot from = random_snapshot(AttentionKind::kLearnedPn);
  const Snapshot whole = random_snapshot(AttentionKind::kSoftmax, /*step=*/7, /*seed=*/2);
  load_into(from.flat, whole.flat);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (const Ranges& ranges : deal(whole.flat.master.numel() + 64, /*world_size=*/3, seed)) {
      const Snapshot expected = share_of(whole, ranges);
      const Snapshot share = share_of(random_snapshot(AttentionKind::kSoftmax, 7, /*seed=*/3), ranges);
      load_into(from.flat, share.flat);
      EXPECT_TRUE(share.flat.exp_avg.equal(expected.flat.exp_avg));
      EXPECT_TRUE(share.flat.exp_avg_sq.equal(expected.flat.exp_avg_sq));
      EXPECT_TRUE(share.flat.master.equal(whole.flat.master));
    }
  }
}

TEST(LoadIntoShares, APartIsNoSource) {
  const Snapshot whole = random_snapshot(AttentionKind::kSsmax);
  const Snapshot share = share_of(whole, {{.begin = 0, .end = 100}});
  EXPECT_THROW(load_into(share.flat, whole.flat), core::InternalError);
  EXPECT_THROW(with_attention(share, kLearned), core::InternalError);
}

}  // namespace
}  // namespace ssgpt::checkpoint
