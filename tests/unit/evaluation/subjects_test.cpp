#include "evaluation/subjects.h"

#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "evaluation/models.h"
#include "run/directory.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::evaluation {
namespace {

namespace fs = std::filesystem;
using config::AttentionKind;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// RUN/checkpoints/step-...
fs::path write_run(const fs::path& run, const config::Config& config, int64_t step = 7) {
  return write_trained(run::RunDirectory(run).checkpoint(step), config, step);
}

void write_sweep(const fs::path& directory, const std::string& runs) {
  fs::create_directories(directory);
  std::ofstream(directory / "sweep.json")
      << R"({"format": "ssgpt-sweep", "version": 1, "baseline": "plain", "runs": [)" << runs << "]}";
}

std::string run_entry(const std::string& name, const std::string& variant, const std::string& point = "") {
  return R"({"name": ")" + name + R"(", "variant": ")" + variant + R"(", "point": ")" + point +
         R"(", "grid": {}, "seed": 1})";
}

class SubjectsTest : public testing::Test {
 protected:
  TemporaryDirectory root_;
};

TEST_F(SubjectsTest, CheckpointsThatDifferInSeedAloneAreOneVariant) {
  config::Config other_logging = settings(AttentionKind::kSoftmax, 2);
  other_logging.log.every = 3;  // changes nothing that is learnt
  other_logging.run.name = "another";
  const fs::path a = write_trained(root_ / "a", settings(AttentionKind::kSoftmax, 1));
  const fs::path b = write_trained(root_ / "b", settings(AttentionKind::kSsmax, 1));
  const fs::path c = write_trained(root_ / "c", other_logging);
  const Subjects subjects = find_subjects({a, b, c}, std::nullopt);
  EXPECT_THAT(subjects.variants, ElementsAre("Softmax", "SSMax"));
  EXPECT_EQ(subjects.baseline, "Softmax");
  ASSERT_EQ(subjects.all.size(), 3);
  EXPECT_EQ(subjects.all[2].variant, "Softmax");
  EXPECT_EQ(subjects.all[2].seed, 2);
  EXPECT_EQ(subjects.all[2].checkpoint, c);
  EXPECT_EQ(subjects.all[2].summary.trainer->step, 7);
}

TEST_F(SubjectsTest, EqualAttentionIsToldApartByTheRunsName) {
  config::Config fast = settings(AttentionKind::kSsmax, 1);
  fast.optimizer.lr *= 2;
  fast.run.name = "fast";
  const Subjects subjects = find_subjects(
      {write_trained(root_ / "a", settings(AttentionKind::kSsmax, 1)), write_trained(root_ / "b", fast)},
      std::nullopt);
  EXPECT_THAT(subjects.variants, ElementsAre("named", "fast"));
}

TEST_F(SubjectsTest, ModelsOfOthersAreVariantsOfTheirOwn) {
  const fs::path a =
      write_trained(root_ / "llama", settings(AttentionKind::kSoftmax, 5), 0, /*trained=*/false);
  const fs::path b =
      write_trained(root_ / "x" / "llama", settings(AttentionKind::kSoftmax, 5), 0, /*trained=*/false);
  const fs::path c = write_trained(root_ / "ours", settings(AttentionKind::kSoftmax, 5));
  const Subjects two = find_subjects({a, c}, std::nullopt);
  EXPECT_THAT(two.variants, ElementsAre("llama", "Softmax"));
  EXPECT_EQ(two.all[0].seed, 0);
  EXPECT_THAT(find_subjects({a, b}, std::nullopt).variants, ElementsAre(a.string(), b.string()));
  EXPECT_THAT(message_of<core::UsageError>([&] {
                find_subjects({a, a}, std::nullopt);
              }),
              HasSubstr("same settings and seed"));
}

TEST_F(SubjectsTest, ARunIsItsNewestCompleteCheckpoint) {
  write_run(root_ / "run", settings(AttentionKind::kSoftmax, 1), 7);
  const fs::path newer = write_run(root_ / "run", settings(AttentionKind::kSoftmax, 1), 20);
  fs::create_directories(run::RunDirectory(root_ / "run").checkpoint(30));  // without a manifest
  EXPECT_EQ(find_subjects({root_ / "run"}, std::nullopt).all.at(0).checkpoint, newer);
  fs::create_directories(root_ / "empty" / "checkpoints" / "step-00000010");  // one that was never completed
  EXPECT_THAT(message_of<core::InputError>([&] { find_subjects({root_ / "empty"}, std::nullopt); }),
              HasSubstr("no complete checkpoint"));
}

TEST_F(SubjectsTest, TwoModelsOfAVariantAndSeedAreRefusedWithBothPaths) {
  const fs::path a = write_run(root_ / "run", settings(AttentionKind::kSoftmax, 1), 7);
  const fs::path b = write_run(root_ / "run", settings(AttentionKind::kSoftmax, 1), 20);
  EXPECT_THAT(message_of<core::UsageError>([&] {
                find_subjects({a, b}, std::nullopt);
              }),
              AllOf(HasSubstr(a.string()), HasSubstr(b.string())));
}

// run.json of a run that began from the weights of `parent`.
void write_parent(const fs::path& run, const std::string& parent) {
  std::ofstream(run / "run.json") << R"({"run_id": "id", "name": "named", "command": "", "parent": ")"
                                  << parent << R"(", "first_step": 0, "sessions": []})";
}

TEST_F(SubjectsTest, ModelsThatBeganFromOtherWeightsAreNoSeedsOfOneVariant) {
  write_run(root_ / "scratch", settings(AttentionKind::kSoftmax, 1));
  write_run(root_ / "tuned-2", settings(AttentionKind::kSoftmax, 2));
  write_run(root_ / "tuned-3", settings(AttentionKind::kSoftmax, 3));
  for (const char* tuned : {"tuned-2", "tuned-3"}) {
    write_parent(root_ / tuned, "/runs/text/checkpoints/step-00000200");
  }
  const Subjects subjects =
      find_subjects({root_ / "scratch", root_ / "tuned-2", root_ / "tuned-3"}, std::nullopt);
  EXPECT_THAT(subjects.variants, ElementsAre("Softmax", "Softmax from text, step-00000200"));
  EXPECT_EQ(subjects.all[1].variant, subjects.all[2].variant);
  EXPECT_EQ(subjects.all[1].run->parent, "/runs/text/checkpoints/step-00000200");
}

TEST_F(SubjectsTest, ByWhicheverPathAModelIsNamedItsRunIsKnown) {
  const fs::path checkpoint = write_run(root_ / "tuned", settings(AttentionKind::kSoftmax, 1));
  write_parent(root_ / "tuned", "/runs/text/checkpoints/step-00000200");
  fs::create_directory_symlink(checkpoint, root_ / "latest");
  const auto origin = [](const fs::path& path) {
    return find_subjects({path}, std::nullopt).all.at(0).run->parent;
  };
  EXPECT_EQ(origin(root_ / "latest"), "/runs/text/checkpoints/step-00000200");
  const fs::path before = fs::current_path();
  fs::current_path(checkpoint.parent_path());
  EXPECT_EQ(origin(checkpoint.filename()), "/runs/text/checkpoints/step-00000200");
  fs::current_path(before);
  // The run around a copy is another one, or none.
  fs::create_directories(root_ / "other" / "checkpoints");
  std::ofstream(root_ / "other" / "run.json")
      << R"({"run_id": "another", "name": "other", "command": "", "parent": "/runs/x", "sessions": []})";
  for (const fs::path& copy : {root_ / "other" / "checkpoints" / "step-00000200", root_ / "copy"}) {
    fs::copy(checkpoint, copy, fs::copy_options::recursive);
    EXPECT_EQ(origin(copy), "");
    EXPECT_EQ(find_subjects({copy}, std::nullopt).all.at(0).run->run_id, "");
  }
}

// Seeds of a training that were each tuned are seeds of one variant; those whose parent is of another one are
// not.
TEST_F(SubjectsTest, TunedSeedsOfOneTrainingAreOneVariant) {
  const auto write_tuned = [&](const std::string& name, uint64_t seed, double parent_lr) {
    write_run(root_ / name, settings(AttentionKind::kSoftmax, seed));
    config::Config parent = settings(AttentionKind::kSoftmax, seed);
    parent.optimizer.lr = parent_lr;
    const std::string checkpoint = fmt::format("/runs/{}-parent/checkpoints/step-00000200", name);
    nlohmann::json record = {{"run_id", "id"}, {"parent", checkpoint}, {"first_step", 0}};
    record["ancestors"].push_back({{"checkpoint", checkpoint},
                                   {"run_id", fmt::format("{}-parent", name)},
                                   {"step", 200},
                                   {"config", config::dump(parent)},
                                   {"data_fingerprint", "text"}});
    std::ofstream(root_ / name / "run.json") << record;
    return root_ / name;
  };
  const Subjects subjects = find_subjects({write_tuned("a", 1, 1e-3), write_tuned("b", 2, 1e-3),
                                           write_tuned("c", 3, 1e-3), write_tuned("d", 4, 2e-3)},
                                          std::nullopt);
  EXPECT_THAT(subjects.variants,
              ElementsAre("Softmax from 3 runs, step-00000200", "Softmax from d-parent, step-00000200"));
  EXPECT_EQ(subjects.all[2].variant, subjects.variants[0]);
  EXPECT_EQ(subjects.all[2].run->lineage.at(0).training.config.run.seed, 3);
}

TEST_F(SubjectsTest, ASwapThatIsAheadIsNotInTheName) {
  config::Config swapping = settings(AttentionKind::kSoftmax, 1);
  swapping.train.swap_attention = {{.at_step = 15, .kind = AttentionKind::kSsmax}};
  const fs::path before = write_run(root_ / "run", swapping, 10);
  const fs::path at = write_run(root_ / "other", swapping, 15);  // the next update is the first with SSMax
  const fs::path other_seed = write_trained(root_ / "plain", settings(AttentionKind::kSoftmax, 2));
  const Subjects subjects = find_subjects({before, other_seed}, std::nullopt);
  EXPECT_THAT(subjects.variants, ElementsAre("Softmax"));
  EXPECT_THAT(find_subjects({at}, std::nullopt).variants, ElementsAre("Softmax"));
  swapping.model.attention.kind = AttentionKind::kSoftmax;
  const fs::path after = write_run(root_ / "after", swapping, 20);
  EXPECT_THAT(find_subjects({before, after}, std::nullopt).variants,
              ElementsAre("Softmax", "Softmax -> SSMax at step 15"));
}

TEST_F(SubjectsTest, RunsOfOneNameAreToldApartByTheirDirectories) {
  config::Config fast = settings(AttentionKind::kSsmax, 1);
  fast.optimizer.lr *= 2;
  write_run(root_ / "slow-run", settings(AttentionKind::kSsmax, 1));
  write_run(root_ / "fast-run", fast);
  const Subjects subjects = find_subjects({root_ / "slow-run", root_ / "fast-run"}, std::nullopt);
  EXPECT_THAT(subjects.variants, ElementsAre("slow-run", "fast-run"));
}

class SweepSubjectsTest : public SubjectsTest {
 protected:
  void SetUp() override {
    sweep_ = root_ / "sweep";
    write_sweep(sweep_, run_entry("scaled-1", "scaled") + "," + run_entry("plain-1", "plain") + "," +
                            run_entry("plain-2", "plain") + "," + run_entry("scaled-2", "scaled"));
    write_run(sweep_ / "scaled-1", settings(AttentionKind::kSsmax, 1));
    write_run(sweep_ / "plain-1", settings(AttentionKind::kSoftmax, 1));
    write_run(sweep_ / "plain-2", settings(AttentionKind::kSoftmax, 2));
  }
  fs::path sweep_;
};

TEST_F(SweepSubjectsTest, ASweepHasItsNamesItsBaselineAndAllItsSeeds) {
  const Subjects subjects = find_subjects({sweep_}, std::nullopt);
  EXPECT_THAT(subjects.variants, ElementsAre("scaled", "plain"));
  EXPECT_EQ(subjects.baseline, "plain");
  ASSERT_EQ(subjects.all.size(), 3);
  EXPECT_EQ(subjects.all[2].seed, 2);
  EXPECT_THAT(subjects.left_out, ElementsAre(HasSubstr("scaled-2 has no complete checkpoint yet")));
}

TEST_F(SweepSubjectsTest, AFurtherSeedJoinsTheVariantOfTheSweep) {
  const fs::path further = write_trained(root_ / "further", settings(AttentionKind::kSoftmax, 3));
  const Subjects subjects = find_subjects({sweep_, further}, std::nullopt);
  EXPECT_EQ(subjects.all.back().variant, "plain");
}

TEST_F(SweepSubjectsTest, TheBaselineIsAVariantOrOneOfThePaths) {
  const fs::path loose = write_trained(root_ / "loose", settings(AttentionKind::kSsmaxFixed, 1));
  EXPECT_EQ(find_subjects({loose, sweep_}, std::nullopt).baseline, "SSMax, s fixed at 1");
  EXPECT_EQ(find_subjects({loose, sweep_}, sweep_.string() + "/").baseline, "plain");
  EXPECT_EQ(find_subjects({sweep_, loose}, loose.string()).baseline, "SSMax, s fixed at 1");
  EXPECT_EQ(find_subjects({sweep_, loose}, "scaled").baseline, "scaled");
  EXPECT_THAT(message_of<core::UsageError>([&] { find_subjects({sweep_}, "other"); }),
              AllOf(HasSubstr("--baseline other"), HasSubstr("'scaled', 'plain'")));
}

TEST_F(SweepSubjectsTest, VariantsOfTwoSweepsHaveTheSweepBeforeThem) {
  config::Config fast = settings(AttentionKind::kSoftmax, 1);
  fast.optimizer.lr *= 2;
  write_sweep(root_ / "fast", run_entry("plain-1", "plain"));
  write_run(root_ / "fast" / "plain-1", fast);
  EXPECT_THAT(find_subjects({sweep_, root_ / "fast/"}, std::nullopt).variants,
              ElementsAre("sweep: scaled", "sweep: plain", "fast: plain"));
}

TEST_F(SweepSubjectsTest, ACandidateCanBeTheBaseline) {
  const auto candidates = [](const Subjects& found) {
    EXPECT_THAT(found.variants, ElementsAre("scaled", "plain"));
    return std::vector<std::string>{"scaled", "plain", "plain, row scale 1.5"};
  };
  EXPECT_EQ(find_subjects({sweep_}, "plain, row scale 1.5", candidates).baseline, "plain, row scale 1.5");
  EXPECT_THAT(message_of<core::UsageError>([&] { find_subjects({sweep_}, "other", candidates); }),
              HasSubstr("'plain, row scale 1.5'"));
}

TEST_F(SweepSubjectsTest, ABaselineWithoutACheckpointHasToBeNamed) {
  fs::remove_all(sweep_ / "plain-1");
  fs::remove_all(sweep_ / "plain-2");
  EXPECT_THAT(message_of<core::UsageError>([&] { find_subjects({sweep_}, std::nullopt); }),
              AllOf(HasSubstr("plain"), HasSubstr("--baseline: scaled")));
  EXPECT_EQ(find_subjects({sweep_}, "scaled").baseline, "scaled");
}

TEST_F(SweepSubjectsTest, AGridIsRefused) {
  write_sweep(sweep_, run_entry("scaled-1", "scaled", "lr1") + "," + run_entry("plain-1", "plain", "lr2"));
  EXPECT_THAT(message_of<core::UsageError>([&] { find_subjects({sweep_}, std::nullopt); }),
              HasSubstr("grid"));
}

TEST_F(SubjectsTest, VocabulariesAndKnownTokenizersHaveToAgree) {
  config::Config wide = settings(AttentionKind::kSsmax, 1);
  wide.model.vocab_size = 31;
  const fs::path a = write_trained(root_ / "a", settings(AttentionKind::kSoftmax, 1));
  const fs::path b = write_trained(root_ / "b", settings(AttentionKind::kSsmax, 1));
  const fs::path c = write_trained(root_ / "c", wide);
  EXPECT_THAT(message_of<core::UsageError>([&] {
                check_same_vocabulary(find_subjects({a, c}, std::nullopt), /*same_tokenizer=*/false);
              }),
              AllOf(HasSubstr("29"), HasSubstr("31"), HasSubstr(c.string())));
  Subjects subjects = find_subjects({a, b}, std::nullopt);
  EXPECT_EQ(check_same_vocabulary(subjects, /*same_tokenizer=*/true), std::nullopt);  // none is known
  core::write_text_atomically(root_ / "one", "1");
  core::write_text_atomically(root_ / "two", "2");
  subjects.all[0].summary.tokenizer = root_ / "one";
  EXPECT_TRUE(check_same_vocabulary(subjects, /*same_tokenizer=*/true).has_value());
  subjects.all[1].summary.tokenizer = root_ / "two";
  EXPECT_EQ(check_same_vocabulary(subjects, /*same_tokenizer=*/false), std::nullopt);
  EXPECT_THAT(message_of<core::UsageError>([&] { check_same_vocabulary(subjects, /*same_tokenizer=*/true); }),
              HasSubstr("different tokenizers"));
  subjects.all[1].summary.tokenizer = root_ / "one";
  EXPECT_EQ(check_same_vocabulary(subjects, /*same_tokenizer=*/true), std::nullopt);
}

}  // namespace
}  // namespace ssgpt::evaluation
