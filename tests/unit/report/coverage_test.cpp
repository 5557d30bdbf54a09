// Runs that stop, lag or were made shorter than the others.
#include "report/comparison.h"
#include "report/output.h"
#include "report/run_files.h"
#include "run/directory.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

constexpr auto kFixed = config::AttentionKind::kSsmaxFixed;

class CoverageTest : public RunFilesTest {
 protected:
  // Adds a run of 400 steps that ends at `last`, and differs from the baseline of its seed by about `offset`.
  std::filesystem::path add(const std::string& name, config::AttentionKind kind, uint64_t seed, double offset,
                            int64_t last = 400) {
    FakeRun run = curve(kind, seed, offset - 0.001 * static_cast<double>(seed), next_++, 0.0);
    run.last_step = last;
    for (int64_t step = 10; step <= last; step += 10) run.validation[step] = run.loss(step);
    options_.runs.push_back(write_run(root_ / name, run));
    return options_.runs.back();
  }

  // Softmax and SSMax of seeds 1 to 3, all finished; SSMax is lower by 0.051, 0.052 and 0.053.
  void add_finished() {
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      add("a" + std::to_string(seed), kSoftmax, seed, 0.001 * static_cast<double>(seed));
      add("b" + std::to_string(seed), kSsmax, seed, -0.05);
    }
  }

  Options options_;
  uint64_t next_ = 1;
};

TEST_F(CoverageTest, AVariantThatStoppedHasNoVerdictAndDoesNotShortenThatOfTheOthers) {
  add_finished();
  for (uint64_t seed = 1; seed <= 3; ++seed)
    add("c" + std::to_string(seed), kFixed, seed, 0.5, 12 + static_cast<int64_t>(seed));
  const Comparison result = compare(options_);
  EXPECT_EQ(result.grid.back().last_step, 400);
  EXPECT_EQ(result.window.first_step, 321);
  const CandidateResult& whole = result.candidates.at(0);
  EXPECT_EQ(whole.verdict, Verdict::kLower);
  EXPECT_NEAR(whole.training.mean, -0.052, 1e-9);
  EXPECT_TRUE(whole.validation.has_value());
  const CandidateResult& stopped = result.candidates.at(1);
  EXPECT_TRUE(stopped.failed);
  EXPECT_EQ(stopped.verdict, Verdict::kNone);
  EXPECT_TRUE(std::isnan(stopped.training.mean));
  EXPECT_THAT(
      stopped.summary.front(),
      testing::EndsWith("stopped in 3 of 3 seeds (seed 1: at step 13 of 400; seed 2: at step 14 of 400; "
                        "seed 3: at step 15 of 400)."));
  EXPECT_THAT(stopped.summary, testing::Each(Not(testing::ContainsRegex("nan|lower|higher|every run"))));
  EXPECT_THAT(result.notes,
              Contains(AllOf(Field(&Note::warning, true),
                             Field(&Note::text, HasSubstr("is left out: it stopped at step 13")))));
  // One that is left out has its curve up to where it ends.
  EXPECT_TRUE(std::isfinite(result.runs.at(6).loss.at(12)));
  EXPECT_TRUE(std::isnan(result.runs.at(6).loss.at(13)));
  const auto json = nlohmann::json::parse(to_json(result));
  EXPECT_EQ(json["comparisons"][1]["verdict"], "no verdict");
  EXPECT_EQ(json["variants"][2]["stopped_seeds"], nlohmann::json({1, 2, 3}));
  EXPECT_FALSE(to_csv(result).empty());
}

// SSMax is higher at first and lower at the end: the early steps would give the opposite verdict.
TEST_F(CoverageTest, ASeedThatDiedTakesTheVerdictAwayAndLeavesTheSteps) {
  add_finished();
  add("a4", kSoftmax, 4, 0.0);
  add("b4", kSsmax, 4, 0.3, 12);
  const Comparison result = compare(options_);
  const CandidateResult& one = result.candidates.at(0);
  EXPECT_EQ(result.grid.back().last_step, 400);
  EXPECT_EQ(one.seeds.size(), 3U);
  EXPECT_NEAR(one.training.mean, -0.052, 1e-9);
  EXPECT_EQ(one.verdict, Verdict::kNone);
  EXPECT_EQ(one.whole_curve.verdict(), Verdict::kNone);
  EXPECT_EQ(one.tokens.verdict(), Verdict::kNone);
  EXPECT_EQ(one.summary.at(0), "No verdict: SSMax stopped in 1 of 4 seeds (seed 4: at step 12 of 400).");
  EXPECT_THAT(one.summary.at(1), HasSubstr("SSMax, seed 4 (step 12 of 400, stopped)"));
}

TEST_F(CoverageTest, OfARunThatIsStillTrainedOnlyThePairIsLeftOut) {
  add_finished();
  add("a4", kSoftmax, 4, 0.0);
  const run::Lock lock(run::RunDirectory(add("b4", kSsmax, 4, 0.3, 12)));
  const CandidateResult one = compare(options_).candidates.at(0);
  EXPECT_EQ(one.seeds.size(), 3U);
  EXPECT_EQ(one.verdict, Verdict::kLower);
  EXPECT_EQ(
      one.summary.front(),
      "Left out are runs that have not reached step 400: SSMax, seed 4 (step 12 of 400, being trained).");
}

// No run of it bounds the steps from above, so none is left out; it has failed all the same.
TEST_F(CoverageTest, TheOnlyCandidateThatStoppedHasNoVerdict) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    add("a" + std::to_string(seed), kSoftmax, seed, 0.001 * static_cast<double>(seed));
    add("b" + std::to_string(seed), kSsmax, seed, -0.05, 100);
  }
  const Comparison result = compare(options_);
  EXPECT_EQ(result.grid.back().last_step, 100);
  EXPECT_EQ(result.candidates.at(0).verdict, Verdict::kNone);
  EXPECT_THAT(result.candidates.at(0).summary.front(), HasSubstr("SSMax stopped in 3 of 3 seeds"));
}

TEST_F(CoverageTest, RunsThatEndWithinALoggingIntervalAreWhole) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    add("a" + std::to_string(seed), kSoftmax, seed, 0.001 * static_cast<double>(seed), 300);
    add("b" + std::to_string(seed), kSsmax, seed, -0.05, seed == 2 ? 299 : 300);
  }
  const Comparison result = compare(options_);
  EXPECT_EQ(result.grid.back().last_step, 299);
  EXPECT_EQ(result.candidates.at(0).verdict, Verdict::kLower);
}

TEST_F(CoverageTest, OneRunThatWasMadeShorterBoundsAllWithAWarningThatLeads) {
  add_finished();
  FakeRun shorter = curve(kFixed, 1, 0.0, 30);
  shorter.config.train.max_steps = shorter.last_step = 100;
  options_.runs.push_back(write_run(root_ / "short", shorter));
  const Comparison result = compare(options_);
  EXPECT_EQ(result.grid.back().last_step, 100);
  const std::string text = "Only steps 1 to 100 are compared: " + (root_ / "short").string() +
                           " ends at step 100, while the longest run has 400.";
  EXPECT_THAT(result.notes, Contains(AllOf(Field(&Note::warning, true), Field(&Note::text, text))));
  EXPECT_EQ(result.candidates.at(0).summary.front(), text);
  EXPECT_EQ(result.candidates.at(0).verdict, Verdict::kLower);
}

}  // namespace
}  // namespace ssgpt::report
