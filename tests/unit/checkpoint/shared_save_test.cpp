// Checkpoints that several ranks write into one directory.
#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "checkpoint/optimizer_files.h"
#include "checkpoint/ranks.h"
#include "checkpoint/snapshots.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"

#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Retention kKeepTwo = {.keep_last = 2, .keep_every = 0};

std::filesystem::path checkpoints_of(const TemporaryDirectory& run) {
  return run / "checkpoints";
}

class SharedSaveOfRanks : public testing::TestWithParam<std::tuple<int64_t, bool>> {};

TEST_P(SharedSaveOfRanks, HoldsWhatOneProcessWrites) {
  const auto [world_size, async] = GetParam();
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const TemporaryDirectory run;
    const Snapshot first = random_snapshot(AttentionKind::kLearnedPn, /*step=*/10, seed);
    const Snapshot second = random_snapshot(AttentionKind::kLearnedPn, /*step=*/20, seed + 100);
    // Padded beyond the padding of the layout.
    const auto ranges = deal(first.flat.master.numel() + 77, world_size, seed);
    const auto texts = std::make_shared<Texts>();
    testing::internal::CaptureStderr();
    const auto messages =
        run_ranks(world_size, *texts, [&, n = world_size, background = async](int64_t rank) {
          const std::vector<core::Range>& own = ranges[static_cast<size_t>(rank)];
          Writer writer(run::RunDirectory(run.path()), kKeepTwo, background, /*verify=*/true,
                        make_exchange(texts, rank, n));
          writer.save(share_of(first, own));
          writer.save(share_of(second, own));
          writer.wait();
        });
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_THAT(messages, testing::Each(IsEmpty()));
    EXPECT_THAT(log, HasSubstr("step-00000010 saved"));
    EXPECT_EQ(log.find("step-00000010 saved"), log.rfind("step-00000010 saved")) << "by one rank";
    for (const Snapshot* written : {&first, &second}) {
      const auto directory = run::RunDirectory(run.path()).checkpoint(written->trainer->step);
      EXPECT_THAT(verify(directory), IsEmpty());
      const Snapshot read_back = read(directory, /*with_optimizer=*/true);
      EXPECT_THAT(read_back.flat.moment_ranges, IsEmpty());
      expect_equal_tensors(written->flat, read_back.flat, /*moments=*/true);
      EXPECT_EQ(read_summary(directory).num_optimizer_files, world_size);
      write(run / "alone", *written);
      for (const char* name :
           {"config.json", "model.safetensors", "trainer/state.json", "modeling_ssgpt.py"}) {
        EXPECT_EQ(core::read_text(directory / name), core::read_text(run / "alone" / name)) << name;
      }
      // One optimizer file becomes world_size: everything else is there once, and nothing besides.
      EXPECT_EQ(files_below(directory).size(),
                files_below(run / "alone").size() - 1 + static_cast<size_t>(world_size));
      std::filesystem::remove_all(run / "alone");
    }
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(checkpoints_of(run)), {}), 2) << "litter";
  }
}
INSTANTIATE_TEST_SUITE_P(Ranks, SharedSaveOfRanks,
                         testing::Combine(testing::Values(int64_t{1}, int64_t{2}, int64_t{3}),
                                          testing::Bool()));

TEST(SharedSave, WholeMomentsAreWrittenByRankZeroAlone) {
  const TemporaryDirectory run;
  const Snapshot snapshot = random_snapshot(AttentionKind::kSsmax, 10);
  const auto texts = std::make_shared<Texts>();
  {
    Writer writer(run::RunDirectory(run.path()), kKeepTwo, /*async=*/false, true, make_exchange(texts, 1, 2));
    writer.save(snapshot);
    writer.wait();
  }
  EXPECT_TRUE(std::filesystem::is_empty(run.path()));
  Writer writer(run::RunDirectory(run.path()), kKeepTwo, /*async=*/false, true, make_exchange(texts, 0, 2));
  writer.save(snapshot);
  EXPECT_EQ(texts->size(), 0U);
  write(run / "alone", snapshot);
  const auto directory = run::RunDirectory(run.path()).checkpoint(10);
  for (const auto& path : files_below(run / "alone")) {
    const auto name = path.lexically_relative(run / "alone");
    EXPECT_EQ(core::read_text(directory / name), core::read_text(path)) << name;
  }
  EXPECT_EQ(files_below(directory).size(), files_below(run / "alone").size());
}

TEST(SharedSave, OnlyRankZeroRemovesWhatAKilledProcessLeft) {
  const TemporaryDirectory run;
  const auto left = checkpoints_of(run) / ".step-00000300.tmp-999999-4";
  std::filesystem::create_directories(left);
  const auto texts = std::make_shared<Texts>();
  const Writer other(run::RunDirectory(run.path()), kKeepTwo, true, true, make_exchange(texts, 1, 2));
  EXPECT_TRUE(std::filesystem::exists(left));
  const Writer first(run::RunDirectory(run.path()), kKeepTwo, true, true, make_exchange(texts, 0, 2));
  EXPECT_FALSE(std::filesystem::exists(left));
}

// Three ranks save step 10, then step 20, where `on_read` keeps rank 1 from its part after rank 2 has done
// its own. Returns what each rank said.
std::vector<std::string> save_with_a_failure(const TemporaryDirectory& run, bool async,
                                             const OnRead& on_read) {
  const Snapshot whole = random_snapshot(AttentionKind::kSsmax, 10);
  const auto ranges = deal(whole.flat.master.numel(), 3, /*seed=*/1);
  const auto texts = std::make_shared<Texts>();
  return run_ranks(3, *texts, [&](int64_t rank) {
    int64_t reads = 0;
    const auto second_read = [&](std::string& text) {
      if (++reads < 2) return;
      texts->wait("checkpoint/2/digest/2", /*owner=*/2);
      on_read(text);
    };
    Writer writer(run::RunDirectory(run.path()), kKeepTwo, async, true,
                  make_exchange(texts, rank, 3, rank == 1 ? OnRead(second_read) : nullptr));
    Snapshot share = share_of(whole, ranges[static_cast<size_t>(rank)]);
    writer.save(share);
    share.trainer->step = 20;
    writer.save(share);
    writer.wait();
  });
}

void expect_only_the_first_save(const TemporaryDirectory& run) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints_of(run))) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(names, ElementsAre("step-00000010"));
  EXPECT_EQ(find_newest_valid(run::RunDirectory(run.path()))->step, 10);
}

TEST(SharedSave, ARankThatCannotWriteLeavesNothing) {
  for (const bool async : {false, true}) {
    const TemporaryDirectory run;
    // A folder in the place of its file: rank 1 alone fails, in the middle of the save.
    const auto messages = save_with_a_failure(run, async, [&run](const std::string& name) {
      std::filesystem::create_directory(checkpoints_of(run) / name / optimizer_file_name(1, 3));
    });
    EXPECT_THAT(messages[0], HasSubstr("step-00000020 was not written: rank 1 failed"));
    EXPECT_THAT(messages[1], HasSubstr("moments of rank 1 were not written"));
    EXPECT_THAT(messages[1], HasSubstr(optimizer_file_name(1, 3)));
    EXPECT_THAT(messages[2], IsEmpty());  // its own part was done
    expect_only_the_first_save(run);
  }
}

TEST(SharedSave, ARankThatEndsBeforeItWritesLeavesNothing) {
  const TemporaryDirectory run;
  const auto messages =
      save_with_a_failure(run, true, [](const std::string&) { throw std::runtime_error("killed"); });
  EXPECT_THAT(messages, ElementsAre(HasSubstr("rank 1 failed"), "killed", ""));
  expect_only_the_first_save(run);
}

TEST(SharedSave, ARankThatDoesNotSeeTheDirectoryAsksForASharedFileSystem) {
  const TemporaryDirectory run;
  const auto messages =
      save_with_a_failure(run, true, [](std::string& name) { name = ".step-00000020.tmp-1-999999"; });
  EXPECT_THAT(messages[1], HasSubstr(checkpoints_of(run) / ".step-00000020.tmp-1-999999"));
  EXPECT_THAT(messages[1], HasSubstr("file system that all ranks share"));
  EXPECT_THAT(messages[0], HasSubstr("rank 1 failed"));
  expect_only_the_first_save(run);
}

// Whoever reaches the store can write into it, but cannot choose a rank's folder that way.
TEST(SharedSave, ARankWritesBesideTheCheckpointAlone) {
  const TemporaryDirectory foreign;
  std::filesystem::create_directory(foreign / "trainer");
  for (const std::string& name :
       {foreign.path().string(), "../../" + foreign.path().filename().string(),
        std::string(".step-00000010.tmp-1-1"),
        ".step-00000020/../../.." + foreign.path().string() + "/.tmp-1-1",
        std::string(".step-00000020.tmp-1-1/.."), std::string(".."), std::string()}) {
    const TemporaryDirectory run;
    const auto messages = save_with_a_failure(run, true, [&name](std::string& posted) { posted = name; });
    EXPECT_THAT(messages[1], HasSubstr("does another program reach the store")) << name;
    EXPECT_THAT(messages[0], HasSubstr("rank 1 failed")) << name;
    expect_only_the_first_save(run);
    EXPECT_TRUE(std::filesystem::is_empty(foreign / "trainer")) << name;
  }
}

TEST(SharedSave, ALinkInPlaceOfTheFolderIsNotFollowed) {
  const TemporaryDirectory foreign;
  std::filesystem::create_directory(foreign / "trainer");
  const TemporaryDirectory run;
  const auto messages = save_with_a_failure(run, true, [&](std::string& name) {
    name = ".step-00000020.tmp-1-1";
    std::filesystem::create_directory_symlink(foreign.path(), checkpoints_of(run) / name);
  });
  EXPECT_THAT(messages[1], HasSubstr("is not there for rank 1"));
  EXPECT_TRUE(std::filesystem::is_empty(foreign / "trainer"));
}

TEST(SharedSave, WhatIsNoDigestIsRefused) {
  for (const char* digest : {"", "12", "-1 abc", "12 abc def", "12  abc", "0x12 abc"}) {
    const TemporaryDirectory run;
    const Snapshot whole = random_snapshot(AttentionKind::kSsmax, 10);
    const auto ranges = deal(whole.flat.master.numel(), 2, /*seed=*/1);
    const auto texts = std::make_shared<Texts>();
    const auto messages = run_ranks(2, *texts, [&](int64_t rank) {
      const OnRead forge = [&](std::string& text) {
        text = digest;
      };
      Writer writer(run::RunDirectory(run.path()), kKeepTwo, /*async=*/false, true,
                    make_exchange(texts, rank, 2, rank == 0 ? forge : nullptr));
      writer.save(share_of(whole, ranges[static_cast<size_t>(rank)]));
    });
    EXPECT_THAT(messages[0], HasSubstr("the digest of rank 1's file is none")) << digest;
    EXPECT_TRUE(std::filesystem::is_empty(checkpoints_of(run))) << digest;
  }
}

TEST(SharedSave, TheOthersEndWhereRankZeroDoesNotCome) {
  const TemporaryDirectory run;
  const Snapshot whole = random_snapshot(AttentionKind::kSsmax, 10);
  const auto ranges = deal(whole.flat.master.numel(), 2, /*seed=*/1);
  const auto texts = std::make_shared<Texts>();
  Writer writer(run::RunDirectory(run.path()), kKeepTwo, /*async=*/true, true, make_exchange(texts, 1, 2));
  writer.save(share_of(whole, ranges[1]));
  texts->fail(0);
  EXPECT_THROW(writer.wait(), parallel::PeerFailure);
  EXPECT_TRUE(std::filesystem::is_empty(run.path()));
}

}  // namespace
}  // namespace ssgpt::checkpoint
