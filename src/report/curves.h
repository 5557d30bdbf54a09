// Judges measurements of models along an axis of context: at each point the difference between each variant
// and the baseline, with what is known about its error. By the rule of report/verdict.h a verdict needs
// seeds; with too few there is only the scatter of the trials, which are the same for all models.
#pragma once

#include "report/lineage.h"
#include "report/measured.h"
#include "report/verdict.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::report {

enum class Figure { kLoss, kAccuracy, kShareRight, kMargin, kEntropy, kLargestWeight, kFirstTokenWeight };
std::string_view key(Figure figure);   // "loss", "accuracy", "share_right", "largest_weight", ...
std::string_view unit(Figure figure);  // "nats per token", "share of the answer's tokens", ...

// The differences of the trials at one point, each the mean over the pairs of seeds (if no seed is shared,
// the difference of the two sides' means). Their error shows how far other trials would move the difference
// of these very models; how far other seeds would is not included.
struct TrialDifferences {
  double mean = std::numeric_limits<double>::quiet_NaN();
  // NaN: fewer than two trials, or one that is not finite.
  double standard_error = std::numeric_limits<double>::quiet_NaN();
  int64_t trials = 0;
};

struct PointDifference {
  Estimate estimate;
  std::vector<SeedValue> seeds;  // candidate minus baseline for each shared seed
  TrialDifferences trials;
};

// A variant at all points. Means are over the compared seeds: if the sides share seeds, a candidate's shared
// ones, and for the baseline those shared with any candidate. NaN if a value among them is not finite.
struct VariantCurve {
  std::string variant;
  std::vector<uint64_t> seeds;
  std::vector<uint64_t> left_out;  // measured but not compared
  std::vector<double> means;
};

struct CurveCandidate {
  std::string variant;
  bool paired = false;  // the sides share a seed: the differences use only shared ones
  Independence origin;  // of the models that the differences are taken over
  int64_t seeds = 0;    // shared ones, or runs of the smaller side; with or without values
  std::vector<PointDifference> points;
};

// One figure of the models under one condition.
struct JudgedFigure {
  Figure figure = Figure::kLoss;
  std::string baseline;
  std::vector<VariantCurve> variants;      // in order of first appearance
  std::vector<CurveCandidate> candidates;  // all but the baseline, in that order
};

// Judges all candidates at all points as one family, since they are read together: their p values are
// Holm-corrected for the number of candidates times the number of points. An accuracy and a share are counts,
// and seeds that agree by chance are no evidence of zero scatter: a scatter below the smaller of one trial's
// worth and the standard error over trials of one seed's difference is not believed, nor one below one
// answer's worth, 1 / PointValue::tokens (Sides::least_scatter). Other figures have no such bound: if they do
// not scatter at all, the standard error is 0, and there is no interval to show.
//
// `curves` must have the same points and trials, `baseline` must be the variant of one of them, and no
// variant may have a seed twice: all of this is checked.
JudgedFigure judge_curves(Figure figure, std::span<const MeasuredCurve> curves, const std::string& baseline);

}  // namespace ssgpt::report
