#include "sweep/plan.h"

#include "config/minimal_config.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "model/accounting.h"

#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::sweep {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

config::SweepRun run_of(const std::string& name, const std::vector<std::string>& overrides = {}) {
  config::SweepRun run;
  run.name = name;
  run.config = config::minimal_with(overrides);
  return run;
}

// The config as a training stores it: device and dtype are not auto there.
void begin(const fs::path& directory, const config::SweepRun& run) {
  config::Config config = run.config;
  config.train.device = config::Device::kCpu;
  if (config.train.dtype == config::Dtype::kAuto) config.train.dtype = config::Dtype::kFloat32;
  fs::create_directories(directory / run.name);
  core::write_text_atomically(directory / run.name / "config.yaml", config::dump(config));
}

void save(const fs::path& directory, const config::SweepRun& run, int64_t step) {
  const fs::path checkpoint = run::RunDirectory(directory / run.name).checkpoint(step);
  fs::create_directories(checkpoint);
  std::ofstream(checkpoint / run::kManifestName) << "{}";
}

std::string refusal(const fs::path& directory, const std::vector<config::SweepRun>& runs) {
  try {
    require_same_settings(directory, runs);
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Settings, ThatChangeTheCurveAreNamedForEachRun) {
  const TemporaryDirectory root;
  for (const char* name : {"a", "b"}) begin(root.path(), run_of(name));
  const std::string told =
      refusal(root.path(), {run_of("a", {"optimizer.lr=0.1", "train.global_batch_size=16"}),
                            run_of("b", {"train.swap_attention=[{at_step: 5, kind: ssmax}]"}),
                            run_of("c", {"optimizer.lr=0.1"})});
  EXPECT_THAT(told,
              HasSubstr((root / "a").string() + ": optimizer.lr: 0.0006 in the run, 0.1 in the sweep file"));
  EXPECT_THAT(told, HasSubstr("train.global_batch_size: 32 in the run, 16"));
  EXPECT_THAT(told, HasSubstr((root / "b").string() + ": train.swap_attention"));
  EXPECT_THAT(told, Not(HasSubstr((root / "c").string())));
}

TEST(Settings, ThatAResumeMayChangeWithoutEffectArePassedOver) {
  const TemporaryDirectory root;
  begin(root.path(), run_of("a"));
  EXPECT_EQ(refusal(root.path(),
                    {run_of("a", {"train.device=cpu", "train.micro_batch_size=4", "log.every=1",
                                  "checkpoint.every=7", "evaluate.every=3", "data.validation=[v.bin]",
                                  "train.max_steps=2000", "train.on_nonfinite=skip", "run.name=other"})}),
            "");
}

// The rate of every step depends on where the schedule ends, which is at max_steps unless the file says.
TEST(Settings, OtherStepsAreRefusedUnlessTheLearningRateIsConstant) {
  for (const char* kind : {"cosine", "wsd"}) {
    const TemporaryDirectory root;
    const std::string schedule = std::string("optimizer.schedule.kind=") + kind;
    const std::string decay = "optimizer.schedule.decay_steps=100";
    begin(root.path(), run_of("a", {schedule, decay}));
    EXPECT_EQ(refusal(root.path(), {run_of("a", {schedule, decay})}), "") << kind;
    const std::string longer = "train.max_steps=2000";
    if (std::string(kind) == "cosine") {  // it ends at decay_steps
      EXPECT_EQ(refusal(root.path(), {run_of("a", {schedule, decay, longer})}), "");
      begin(root.path(), run_of("b", {schedule}));
    } else {
      begin(root.path(), run_of("b", {schedule, decay}));
    }
    std::vector<std::string> settings = {schedule, longer};
    if (std::string(kind) == "wsd") settings.push_back(decay);
    EXPECT_THAT(
        refusal(root.path(), {run_of("b", settings)}),
        HasSubstr("b: optimizer.schedule.total_steps (auto: train.max_steps): 1000 in the run, 2000 in "
                  "the sweep file"))
        << kind;
    settings.push_back("optimizer.schedule.total_steps=1000");
    EXPECT_EQ(refusal(root.path(), {run_of("b", settings)}), "") << kind;
  }
}

TEST(Settings, FewerStepsThanAreTrainedAreRefused) {
  const TemporaryDirectory root;
  begin(root.path(), run_of("a"));
  save(root.path(), run_of("a"), 500);
  EXPECT_EQ(refusal(root.path(), {run_of("a", {"train.max_steps=500"})}), "");
  EXPECT_THAT(refusal(root.path(), {run_of("a", {"train.max_steps=499"})}),
              HasSubstr("the run is at step 500, 499"));
}

TEST(Settings, WhereTheDataLieMayChangeWhereTheRecordSaysWhatTheyHeld) {
  const TemporaryDirectory root;
  const std::string tokenizer = "data.tokenizer=t.model";
  begin(root.path(), run_of("a", {tokenizer}));
  const std::vector<config::SweepRun> moved = {
      run_of("a", {"data.tokenizer=b/t.model", "data.train=[b/train.bin]"})};
  EXPECT_THAT(refusal(root.path(), moved),
              testing::AllOf(HasSubstr("data.train"), HasSubstr("data.tokenizer")));
  std::ofstream(root / "a/run.json") << R"({"run_id": "id", "data_fingerprint": "d"})";
  EXPECT_THAT(refusal(root.path(), moved),
              testing::AllOf(Not(HasSubstr("data.train")), HasSubstr("data.tokenizer")));
  std::ofstream(root / "a/run.json")
      << R"({"run_id": "id", "data_fingerprint": "d", "tokenizer_fingerprint": "t"})";
  EXPECT_EQ(refusal(root.path(), moved), "");
}

TEST(Data, AnotherTokenizerThanARunBeganWithIsNamed) {
  const TemporaryDirectory root;
  const fs::path tokenizer = root / "t.model";
  std::ofstream(tokenizer) << "one";
  const std::string then = core::checksum_of_file(tokenizer);
  const config::SweepRun run = run_of("a", {"data.tokenizer=" + tokenizer.string()});
  begin(root.path(), run);
  std::ofstream(root / "a/run.json") << R"({"run_id": "id", "tokenizer_fingerprint": ")" << then << "\"}";
  EXPECT_NO_THROW(require_same_data(root.path(), std::vector{run}));
  std::ofstream(tokenizer) << "other";
  const std::string now = core::checksum_of_file(tokenizer);
  try {
    require_same_data(root.path(), std::vector{run});
    ADD_FAILURE() << "it was taken";
  } catch (const core::UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("a: tokenizer " + tokenizer.string() + ": checksum " + then +
                                        " when it began, " + now + " now"));
  }
}

TEST(Settings, ADtypeThatEachRunWouldMeasureIsRefusedOnACpu) {
  const std::vector<config::SweepRun> runs = {run_of("a", {"train.dtype=float32"}), run_of("b")};
  EXPECT_THROW(require_known_dtype(runs, /*auto_is_gpu=*/false), core::UsageError);
  EXPECT_NO_THROW(require_known_dtype(runs, /*auto_is_gpu=*/true));
  std::vector<config::SweepRun> mixed = {run_of("a"), run_of("b")};
  mixed[0].config.train.device = config::Device::kCuda;
  mixed[1].config.train.device = config::Device::kCpu;
  EXPECT_THROW(require_known_dtype(mixed, /*auto_is_gpu=*/true), core::UsageError);
  EXPECT_NO_THROW(require_known_dtype(std::span(mixed).first(1), /*auto_is_gpu=*/false));
  EXPECT_NO_THROW(require_known_dtype(std::span(runs).first(1), /*auto_is_gpu=*/false));
}

TEST(StatusOnDisk, IsDoneWithACompleteCheckpointOfTheLastStep) {
  const TemporaryDirectory root;
  const config::SweepRun run = run_of("a");
  const run::RunDirectory directory(root / "a");
  EXPECT_EQ(status_on_disk(directory, 1000).state, State::kWaiting);
  save(root.path(), run, 400);
  EXPECT_EQ(status_on_disk(directory, 1000).state, State::kWaiting);
  EXPECT_EQ(status_on_disk(directory, 1000).step, 400);
  fs::create_directories(directory.checkpoint(1000));  // no manifest: being written
  EXPECT_EQ(status_on_disk(directory, 1000).state, State::kWaiting);
  {
    const run::Lock lock(directory);
    EXPECT_EQ(status_on_disk(directory, 1000).state, State::kElsewhere);
  }
  save(root.path(), run, 1000);
  EXPECT_EQ(status_on_disk(directory, 1000).state, State::kDone);
  EXPECT_EQ(status_on_disk(directory, 1001).state, State::kWaiting);
}

TEST(Checkpoints, TakeWhatIsKeptAndOneMore) {
  const auto parameters = [](const config::SweepRun& run) {
    return static_cast<uint64_t>(model::count_parameters(run.config.model, run.config.data.sequence_length));
  };
  const config::SweepRun one = run_of("a");  // the last step alone
  EXPECT_EQ(checkpoint_bytes(one.config), 12 * parameters(one));
  const config::SweepRun many =
      run_of("a", {"checkpoint.every=100", "checkpoint.keep_last=3", "checkpoint.keep_every=500"});
  EXPECT_EQ(checkpoint_bytes(many.config), (3 + 2 + 1) * 12 * parameters(many));
}

TEST(Configs, AreWhatTrainReads) {
  const TemporaryDirectory root;
  const std::vector<config::SweepRun> runs = {run_of("a-seed1", {"optimizer.lr=0.1"})};
  write_configs(root.path(), runs);
  const std::vector<std::string> arguments = train_arguments(root.path(), runs[0]);
  ASSERT_EQ(arguments[2], "--config");
  EXPECT_TRUE(config::differences(config::load(arguments[3], {}), runs[0].config).empty());
}

}  // namespace
}  // namespace ssgpt::sweep
