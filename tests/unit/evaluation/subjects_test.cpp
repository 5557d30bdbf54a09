#include "evaluation/subjects.h"

#include "checkpoint/state.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "evaluation/conditions.h"
#include "evaluation/models.h"
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
    for (const Candidate& one : condition.candidates) EXPECT_EQ(one.overrides.rope_theta, condition.rope_theta);
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
