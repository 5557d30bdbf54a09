// The paired comparison of runs: a candidate minus the baseline, step by step over the steps that they share.
//
// The verdict rule. Four outcomes are judged over seeds (report/outcomes.h, by the rule of report/verdict.h).
// The training loss over the window decides the verdict of a comparison, unless the validation loss has the
// opposite verdict: then there is none. Nor is there one if a run of either side failed, that is, has a
// non-finite loss in the window or stopped before its last step (report/coverage.h): leaving that run out
// would favour the seeds that survived; nor if the sides began from different trained models and runs of one
// side share any of these (report/lineage.h).
#pragma once

#include "report/coverage.h"
#include "report/grid.h"
#include "report/lineage.h"
#include "report/statistics.h"
#include "report/tokens.h"
#include "report/variants.h"
#include "report/verdict.h"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ssgpt::report {

struct Options {
  std::vector<std::filesystem::path> runs;        // at least two
  std::optional<std::filesystem::path> baseline;  // one of them; nullopt: the first
  std::optional<std::string> window;              // see select_window
};

// Losses are in nats per token; NaN for a missing one. Values over the shared stretches are means over their
// steps.
struct RunResult {
  RunData data;
  std::string label;
  bool used = true;  // false: it repeats an earlier run
  Ending ending = {};
  std::vector<double> loss;        // on the shared stretches; NaN beyond its end if it is not compared
  std::vector<double> validation;  // at the shared validation steps
};

struct VariantResult {
  Variant variant;
  std::vector<size_t> averaged;  // those of its runs that a difference is taken over
  std::vector<size_t> diverged;  // those of its compared runs with a non-finite loss in the window
  std::vector<size_t> stopped;   // those of its runs that stopped: see Ending

  // Means over `averaged`.
  std::vector<double> loss;
  std::vector<double> smoothed;
  std::vector<double> validation;
  double window_loss = 0.0;
  // Tokens to bring the smoothed loss down to the baseline's final one; nullopt: never.
  std::optional<double> tokens_to_target;
};

struct SeedDifference {
  uint64_t seed = 0;
  double training = 0.0;     // mean loss over the window
  double validation = 0.0;   // likewise; NaN without
  double whole_curve = 0.0;  // mean training loss over all shared steps: the area between the curves
  double tokens = 0.0;       // mean log ratio of the tokens needed to reach the losses of token_losses
};

// Mean losses over a tenth of the shared steps.
struct Segment {
  int64_t first_step = 0;
  int64_t last_step = 0;
  double baseline = 0.0;
  double candidate = 0.0;
  double difference = 0.0;
};

struct CandidateResult {
  size_t variant = 0;
  bool paired = false;  // the sides share a seed, whether or not its runs are compared
  std::vector<std::pair<size_t, size_t>> pairs;  // compared runs (candidate, baseline) with the same seed
  std::vector<SeedDifference> seeds;             // of the pairs, in their order
  // The runs that the differences are over: those of the pairs if seeds are shared, else all compared ones.
  std::vector<size_t> runs;
  std::vector<size_t> baseline_runs;
  Independence origin;  // of `runs` and `baseline_runs`
  bool failed = false;  // a run of either variant diverged or stopped, paired or not: no verdict
  // On the shared stretches, for the means over `runs` and `baseline_runs`.
  std::vector<double> difference;
  std::vector<double> smoothed_difference;
  std::vector<double> validation_difference;  // at the shared validation steps
  // Losses that `runs` and `baseline_runs` all fall through, ignoring runs with a non-finite loss.
  LossRange token_losses = {std::numeric_limits<double>::quiet_NaN(),
                            std::numeric_limits<double>::quiet_NaN()};
  // A run of either variant has a non-finite loss, even before the window: the whole curve and the tokens
  // have no verdict.
  bool has_gaps = false;
  // For the figures of SeedDifference; the first decides.
  Estimate training;
  std::optional<Estimate> validation;  // nullopt without a finite validation loss in the window
  Estimate whole_curve;
  Estimate tokens;
  // How far the curve's own noise moves the differences in the window, apart from the scatter between seeds.
  CurveNoise training_noise;
  CurveNoise validation_noise;
  Verdict verdict = Verdict::kNone;
  std::vector<Segment> segments;
  std::vector<SettingDifference> settings;
  bool attention_alone = false;
  std::vector<std::string> summary;  // plain English, the verdict first
};

struct Comparison {
  std::vector<Stretch> grid;
  Window window;
  std::vector<int64_t> validation_steps;
  double smoothing_points = 0.0;  // about how many points the smoothed curves look back over
  double smoothing_steps = 0.0;   // about how many steps these are
  double target_loss = 0.0;       // the baseline's final smoothed loss
  std::vector<RunResult> runs;
  std::vector<VariantResult> variants;
  size_t baseline = 0;                      // index in variants
  std::vector<CandidateResult> candidates;  // every other variant, in order
  std::vector<Note> notes;
  std::string short_comparison;  // see report/coverage.h
};

// Throws core::InputError for what cannot be read, core::UsageError for fewer than two runs, a baseline that
// is not among them, a window without points, and runs that cannot be compared (check_comparable).
Comparison compare(const Options& options);

// Non-finite losses of a run in the window.
struct NonfiniteLosses {
  int64_t training = 0;  // stretches
  int64_t validation = 0;
  bool any() const { return training > 0 || validation > 0; }
};
NonfiniteLosses nonfinite_losses(const Comparison& comparison, const RunResult& run);

// "SSMax diverged in 1 of 3 seeds (...)", "SSMax stopped at step 13 of 30": for each of the candidate's
// comparison's variants that did; empty if none did.
std::string failure_statement(const Comparison& comparison, const CandidateResult& candidate);

// The lines of CandidateResult::summary.
std::vector<std::string> summarize(const Comparison& comparison, const CandidateResult& candidate);

}  // namespace ssgpt::report
