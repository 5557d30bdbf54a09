#include "evaluation/subjects.h"

#include "checkpoint/state.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "evaluation/conditions.h"
#include "evaluation/models.h"
#include "evaluation/notes.h"
#include "run/directory.h"

#include <cmath>
#include <filesystem>
#include <fstream>
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

config::Config settings(AttentionKind kind, uint64_t seed) {
  config::Config config;
  config.run.name = "named";
  config.run.seed = seed;
  config.model.vocab_size = 29;
  config.model.hidden_size = 8;
  config.model.num_hidden_layers = 1;
  config.model.num_attention_heads = 2;
  config.model.intermediate_size = 12;
  config.model.attention.kind = kind;
  config.data.train = {"train.bin"};
  config.data.sequence_length = 16;
  config.train.max_steps = 100;
  config.train.global_batch_size = 4;
  config.train.micro_batch_size = 4;
  return config;
}

// A checkpoint of a model of zeros, as a trainer with this config writes it; `trained` false: without its
// state, as a model of others.
fs::path write(const fs::path& directory, const config::Config& config, int64_t step = 7,
               bool trained = true) {
  checkpoint::Snapshot snapshot;
  snapshot.spec.config = config.model;
  snapshot.spec.sequence_length = config.data.sequence_length;
  snapshot.flat = checkpoint::make_flat_state(
      model::parameter_specs(config.model, config.data.sequence_length), /*with_moments=*/trained);
  if (trained) {
    checkpoint::TrainerState state;
    state.step = step;
    state.dtype = "float32";
    state.run_id = "id";
    state.data_fingerprint = "f";
    state.config = config::dump(config);
    snapshot.trainer = state;
  }
  fs::create_directories(directory.parent_path());
  checkpoint::write(directory, snapshot);
  return directory;
}

// RUN/checkpoints/step-...
fs::path write_run(const fs::path& run, const config::Config& config, int64_t step = 7) {
  return write(run::RunDirectory(run).checkpoint(step), config, step);
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
  const fs::path a = write(root_ / "a", settings(AttentionKind::kSoftmax, 1));
  const fs::path b = write(root_ / "b", settings(AttentionKind::kSsmax, 1));
  const fs::path c = write(root_ / "c", other_logging);
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
      {write(root_ / "a", settings(AttentionKind::kSsmax, 1)), write(root_ / "b", fast)}, std::nullopt);
  EXPECT_THAT(subjects.variants, ElementsAre("named", "fast"));
}

TEST_F(SubjectsTest, ModelsOfOthersAreVariantsOfTheirOwn) {
  const fs::path a = write(root_ / "llama", settings(AttentionKind::kSoftmax, 5), 0, /*trained=*/false);
  const fs::path b = write(root_ / "x" / "llama", settings(AttentionKind::kSoftmax, 5), 0, /*trained=*/false);
  const fs::path c = write(root_ / "ours", settings(AttentionKind::kSoftmax, 5));
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
  fs::create_directories(root_ / "empty" / "checkpoints");
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

TEST_F(SubjectsTest, ASwapThatIsAheadIsNotInTheName) {
  config::Config swapping = settings(AttentionKind::kSoftmax, 1);
  swapping.train.swap_attention = {{.at_step = 15, .kind = AttentionKind::kSsmax}};
  const fs::path before = write_run(root_ / "run", swapping, 10);
  const fs::path at = write_run(root_ / "other", swapping, 15);  // the next update is the first with SSMax
  const fs::path other_seed = write(root_ / "plain", settings(AttentionKind::kSoftmax, 2));
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
  const fs::path further = write(root_ / "further", settings(AttentionKind::kSoftmax, 3));
  const Subjects subjects = find_subjects({sweep_, further}, std::nullopt);
  EXPECT_EQ(subjects.all.back().variant, "plain");
}

TEST_F(SweepSubjectsTest, TheBaselineIsAVariantOrOneOfThePaths) {
  const fs::path loose = write(root_ / "loose", settings(AttentionKind::kSsmaxFixed, 1));
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
              ElementsAre("scaled", "sweep: plain", "fast: plain"));
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
  const fs::path a = write(root_ / "a", settings(AttentionKind::kSoftmax, 1));
  const fs::path b = write(root_ / "b", settings(AttentionKind::kSsmax, 1));
  const fs::path c = write(root_ / "c", wide);
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

std::vector<std::string> variants_of(const Condition& condition) {
  std::vector<std::string> variants;
  for (const Candidate& candidate : condition.candidates) variants.push_back(candidate.variant);
  return variants;
}

class ConditionsTest : public SubjectsTest {
 protected:
  void SetUp() override {
    subjects_ = find_subjects({write(root_ / "a", settings(AttentionKind::kSoftmax, 1)),
                               write(root_ / "b", settings(AttentionKind::kSsmax, 1))},
                              std::nullopt);
  }
  std::string refusal(const ChangeLists& changes) {
    return message_of<core::UsageError>([&] { make_conditions(subjects_, changes); });
  }
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
  const fs::path learned = write(root_ / "learned", settings(AttentionKind::kLearnedPn, 1));
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

std::vector<std::string> texts(const std::vector<report::Note>& notes) {
  std::vector<std::string> all;
  for (const report::Note& note : notes) all.push_back(note.text);
  return all;
}

TEST_F(SubjectsTest, NotesSayWhatDiffersBesideAttention) {
  config::Config fast = settings(AttentionKind::kSsmax, 1);
  fast.optimizer.lr = 0.5;
  fast.run.name = "fast";
  const fs::path plain = write(root_ / "plain", settings(AttentionKind::kSoftmax, 1));
  Subjects subjects = find_subjects({plain, write(root_ / "fast", fast)}, std::nullopt);
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])),
              ElementsAre(AllOf(HasSubstr("between Softmax and SSMax, beside attention: optimizer.lr ("),
                                HasSubstr("; 0.5)"))));
  subjects.all[1].run->data_fingerprint = "g";
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])),
              ElementsAre(HasSubstr("Softmax and SSMax were trained on different data"), HasSubstr("lr")));
  subjects = find_subjects({plain, write(root_ / "ssmax", settings(AttentionKind::kSsmax, 1))}, std::nullopt);
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])), ElementsAre());
}

TEST_F(SubjectsTest, NotesSayWhereSeedsOfAVariantStandAtOtherSteps) {
  const Subjects subjects = find_subjects({write(root_ / "a", settings(AttentionKind::kSoftmax, 1), 7),
                                           write(root_ / "b", settings(AttentionKind::kSoftmax, 2), 9)},
                                          std::nullopt);
  EXPECT_THAT(texts(notes_on_training(subjects, subjects.all[0])),
              ElementsAre(HasSubstr("seeds of Softmax stand at different steps (seed 1: 7, seed 2: 9)")));
}

TEST_F(SubjectsTest, NotesSayWhereAModelHasNotLearnedTheTask) {
  config::Config config = settings(AttentionKind::kSoftmax, 1);
  const fs::path folder = root_ / "shards";
  fs::create_directories(folder);
  core::write_text_atomically(folder / "train_000000.bin", "x");
  config.data.train = {(folder / "train_*.bin").string()};
  const Subjects subjects = find_subjects({write(root_ / "a", config)}, std::nullopt);
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
