#include "evaluation/conditions.h"

#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "evaluation/models.h"
#include "evaluation/notes.h"

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

namespace fs = std::filesystem;
using config::AttentionKind;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::vector<std::string> variants_of(const Condition& condition) {
  std::vector<std::string> variants;
  for (const Candidate& candidate : condition.candidates) variants.push_back(candidate.variant);
  return variants;
}

class ConditionsTest : public testing::Test {
 protected:
  void SetUp() override {
    subjects_ = find_subjects({write_trained(root_ / "a", settings(AttentionKind::kSoftmax, 1)),
                               write_trained(root_ / "b", settings(AttentionKind::kSsmax, 1))},
                              std::nullopt);
  }
  std::string refusal(const ChangeLists& changes) {
    return message_of<core::UsageError>([&] { make_conditions(subjects_, changes); });
  }
  TemporaryDirectory root_;
  Subjects subjects_;
};

TEST_F(ConditionsTest, UnchangedModelsComeFirstInEveryCondition) {
  ChangeLists changes;
  changes.rope_thetas = {10000.0, 5e5};
  changes.row_scales = {1.0, 1.5};
  changes.swaps = {AttentionKind::kSsmax};
  const std::vector<Condition> conditions = make_conditions(subjects_, changes);
  ASSERT_EQ(conditions.size(), 2);
  for (const Condition& condition : conditions) {
    EXPECT_THAT(variants_of(condition), ElementsAre("Softmax", "SSMax", "Softmax, row scale 1.5",
                                                    "SSMax, row scale 1.5", "Softmax -> SSMax, untrained"));
    for (const Candidate& one : condition.candidates)
      EXPECT_EQ(one.overrides.rope_theta, condition.rope_theta);
  }
  const std::vector<Candidate>& candidates = conditions[1].candidates;
  EXPECT_EQ(conditions[1].rope_theta, 5e5);
  EXPECT_EQ(candidates[0].overrides.row_scale, std::nullopt);
  EXPECT_EQ(candidates[3].overrides.row_scale, 1.5);
  EXPECT_EQ(candidates[3].overrides.attention, std::nullopt);
  EXPECT_EQ(candidates[4].overrides.attention, AttentionKind::kSsmax);
  EXPECT_EQ(candidates[4].subject, 0);
}

TEST_F(ConditionsTest, WithoutChangesThereIsOneAsTrained) {
  const std::vector<Condition> conditions = make_conditions(subjects_, {});
  ASSERT_EQ(conditions.size(), 1);
  EXPECT_EQ(conditions[0].rope_theta, std::nullopt);
  EXPECT_THAT(variants_of(conditions[0]), ElementsAre("Softmax", "SSMax"));
}

TEST_F(ConditionsTest, PositionsAreExtendedWhereTheyAreLearned) {
  ChangeLists changes;
  changes.extend_pn = true;
  EXPECT_THAT(refusal(changes), HasSubstr("--extend-pn"));
  changes.swaps = {AttentionKind::kLearnedPn};
  changes.yarn_factor = 4.0;
  const std::vector<Condition> conditions = make_conditions(subjects_, changes);
  for (const Candidate& one : conditions.at(0).candidates) {
    EXPECT_EQ(one.overrides.extend_pn, one.overrides.attention.has_value());
    EXPECT_EQ(one.overrides.yarn_factor, 4.0);
  }
}

TEST_F(ConditionsTest, RowScalesAndSwapsAreAppliedToTheVariantsThatAreNamed) {
  ChangeLists changes;
  changes.row_scales = {1.5};
  changes.swaps = {AttentionKind::kSsmax, AttentionKind::kSsmaxFixed};
  changes.apply_to = {"Softmax"};
  EXPECT_THAT(candidate_names(make_conditions(subjects_, changes).at(0)),
              ElementsAre("Softmax", "SSMax", "Softmax, row scale 1.5", "Softmax -> SSMax, untrained",
                          "Softmax -> SSMax, s fixed at 1, untrained"));
  changes.apply_to = {"SSMax"};
  EXPECT_THAT(refusal(changes), HasSubstr("--swap-attention ssmax: every model has this attention already"));
  changes.apply_to = {"other"};
  EXPECT_THAT(refusal(changes), AllOf(HasSubstr("--apply-to other"), HasSubstr("'Softmax', 'SSMax'")));
  ChangeLists nothing;
  nothing.apply_to = {"Softmax"};
  EXPECT_THAT(refusal(nothing), HasSubstr("--apply-to"));
}

TEST_F(ConditionsTest, WindowsBeyondALearnedPositionAreRefusedByCheckpoint) {
  const fs::path learned = write_trained(root_ / "learned", settings(AttentionKind::kLearnedPn, 1));
  subjects_ = find_subjects({root_ / "a", learned}, std::nullopt);
  ChangeLists changes;
  check_candidates(subjects_, make_conditions(subjects_, changes), 16);  // fits
  EXPECT_THAT(message_of<core::UsageError>(
                  [&] { check_candidates(subjects_, make_conditions(subjects_, changes), 17); }),
              AllOf(HasSubstr(learned.string()), HasSubstr("p_n of 16 entries"), HasSubstr("not 17")));
  changes.extend_pn = true;
  check_candidates(subjects_, make_conditions(subjects_, changes), 17);
  changes.rope_thetas = {1.0};
  changes.yarn_factor = 2.0;
  EXPECT_THAT(message_of<core::UsageError>(
                  [&] { check_candidates(subjects_, make_conditions(subjects_, changes), 17); }),
              AllOf(HasSubstr((root_ / "a").string()), HasSubstr("theta above 1")));
}

// Neither another theta nor YaRN changes a model that rotates nothing.
TEST_F(ConditionsTest, ChangesOfRopeNeedAModelWithRope) {
  config::Config config = settings(AttentionKind::kSsmax, 1);
  config.model.nope_layers.layers = {0};
  ASSERT_EQ(config.model.num_hidden_layers, 1);
  const fs::path nope = write_trained(root_ / "nope", config);
  ChangeLists theta;
  theta.rope_thetas = {5e5};
  ChangeLists yarn;
  yarn.yarn_factor = 2.0;
  ChangeLists scale;
  scale.row_scales = {1.5};
  subjects_ = find_subjects({nope}, std::nullopt);
  const std::string of_model =
      nope.string() + " has no RoPE in any layer (model.nope_layers), so it would change nothing.";
  EXPECT_EQ(refusal(theta), "--rope-theta: " + of_model);
  EXPECT_EQ(refusal(yarn), "--yarn: " + of_model);
  EXPECT_EQ(refusal(scale), "nothing was thrown");
  EXPECT_EQ(message_of<core::UsageError>([&] { combine_changes(subjects_.all[0], theta); }),
            "--rope-theta: " + of_model);
  subjects_ = find_subjects({root_ / "a", nope}, std::nullopt);
  EXPECT_EQ(refusal(theta), "nothing was thrown");
  theta.yarn_factor = 2.0;
  const std::vector<report::Note> notes = notes_on_changes(subjects_, theta);
  ASSERT_EQ(notes.size(), 1);
  EXPECT_EQ(notes[0].text, "SSMax has no RoPE in any layer: --rope-theta and --yarn change nothing in it.");
  EXPECT_EQ(notes_on_changes(subjects_, yarn).at(0).text,
            "SSMax has no RoPE in any layer: --yarn changes nothing in it.");
  EXPECT_TRUE(notes_on_changes(subjects_, scale).empty());
}

class NotesTest : public testing::Test {
 protected:
  TemporaryDirectory root_;
};

std::vector<std::string> texts(const std::vector<report::Note>& notes) {
  std::vector<std::string> all;
  for (const report::Note& note : notes) all.push_back(note.text);
  return all;
}

// As if each checkpoint were in its run.
Subjects in_their_runs(Subjects subjects) {
  for (Subject& subject : subjects.all) subject.run->run_id = "id";
  return subjects;
}

TEST_F(NotesTest, SayWhichModelsMayHaveBegunAlike) {
  const fs::path plain = write_trained(root_ / "plain", settings(AttentionKind::kSoftmax, 1));
  const fs::path copied = write_trained(root_ / "copied", settings(AttentionKind::kSoftmax, 2));
  Subjects subjects = in_their_runs(find_subjects({plain, copied}, std::nullopt));
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])), ElementsAre());
  subjects.all[1].run->run_id.clear();
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])),
              ElementsAre(StartsWith("It is not known what " + copied.string() + " began from")));
  subjects.all.pop_back();
  subjects.all[0].run->run_id.clear();
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])), ElementsAre());
}

TEST_F(NotesTest, SayWhatDiffersBesideAttention) {
  config::Config fast = settings(AttentionKind::kSsmax, 1);
  fast.optimizer.lr = 0.5;
  fast.run.name = "fast";
  const fs::path plain = write_trained(root_ / "plain", settings(AttentionKind::kSoftmax, 1));
  Subjects subjects =
      in_their_runs(find_subjects({plain, write_trained(root_ / "fast", fast)}, std::nullopt));
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])),
              ElementsAre(AllOf(HasSubstr("between Softmax and SSMax, besides attention: optimizer.lr ("),
                                HasSubstr("; 0.5)"))));
  subjects.all[1].run->data_fingerprint = "g";
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])),
              ElementsAre(HasSubstr("Softmax and SSMax were trained on different data"), HasSubstr("lr")));
  subjects = in_their_runs(find_subjects(
      {plain, write_trained(root_ / "ssmax", settings(AttentionKind::kSsmax, 1))}, std::nullopt));
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])), ElementsAre());
}

TEST_F(NotesTest, SayWhereSeedsOfAVariantStandAtOtherSteps) {
  const Subjects subjects =
      in_their_runs(find_subjects({write_trained(root_ / "a", settings(AttentionKind::kSoftmax, 1), 7),
                                   write_trained(root_ / "b", settings(AttentionKind::kSoftmax, 2), 9)},
                                  std::nullopt));
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])),
              ElementsAre(HasSubstr("seeds of Softmax are at different steps (seed 1: 7, seed 2: 9)")));
}

TEST_F(NotesTest, SayWhereAModelHasNotLearnedTheTask) {
  config::Config config = settings(AttentionKind::kSoftmax, 1);
  const fs::path folder = root_ / "shards";
  fs::create_directories(folder);
  core::write_text_atomically(folder / "train_000000.bin", "x");
  config.data.train = {(folder / "train_*.bin").string()};
  const Subjects subjects = find_subjects({write_trained(root_ / "a", config)}, std::nullopt);
  const auto notes_of = [&](const std::string& prepare) {
    core::write_text_atomically(folder / "prepare.json", prepare);
    return texts(notes_on_task(subjects, data::SyntheticTask::kCopy));
  };
  const std::string of_task =
      R"({"settings": {"synthetic": {"task": "copy", "vocab_size": 29, "length": 16}}})";
  EXPECT_THAT(notes_of(of_task), ElementsAre());
  EXPECT_THAT(notes_of(R"({"settings": {"seed": 1}})"), ElementsAre(HasSubstr("was trained on text")));
  EXPECT_THAT(notes_of(R"({"settings": {"synthetic": {"task": "passkey", "vocab_size": 29, "length": 16}}})"),
              ElementsAre(HasSubstr("the task passkey of 16 tokens over 29 symbols")));
  EXPECT_THAT(notes_of(R"({"settings": {"synthetic": {"task": "copy", "vocab_size": 20, "length": 16}}})"),
              ElementsAre(HasSubstr("over 20 symbols")));
  EXPECT_THAT(notes_of("damaged"), ElementsAre());
  fs::remove_all(folder);  // the shards are elsewhere
  EXPECT_THAT(texts(notes_on_task(subjects, data::SyntheticTask::kCopy)), ElementsAre());
}

TEST_F(ConditionsTest, RefusesWhatMakesNoSense) {
  const auto with = [](auto change) {
    ChangeLists changes;
    change(changes);
    return changes;
  };
  EXPECT_THAT(refusal(with([](ChangeLists& c) { c.rope_thetas = {0.0}; })), HasSubstr("--rope-theta 0"));
  EXPECT_THAT(refusal(with([](ChangeLists& c) { c.rope_thetas = {INFINITY}; })),
              HasSubstr("--rope-theta inf"));
  EXPECT_THAT(refusal(with([](ChangeLists& c) { c.rope_thetas = {1e4, 1e4}; })), HasSubstr("twice"));
  EXPECT_THAT(refusal(with([](ChangeLists& c) { c.row_scales = {1.5, -1.0}; })), HasSubstr("--row-scale -1"));
  EXPECT_THAT(refusal(with([](ChangeLists& c) { c.yarn_factor = 0.5; })), HasSubstr("--yarn 0.5"));
  EXPECT_THAT(refusal(with([](ChangeLists& c) {
                c.yarn_factor = 2.0;
                c.rope_thetas = {1e4, 1e5};
              })),
              HasSubstr("--yarn"));
  subjects_.all.pop_back();
  EXPECT_THAT(refusal(with([](ChangeLists& c) { c.swaps = {AttentionKind::kSoftmax}; })),
              HasSubstr("has this attention already"));
}

}  // namespace
}  // namespace ssgpt::evaluation
