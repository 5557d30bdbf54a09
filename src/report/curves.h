// What evaluations measured of models along an axis of context, judged: at each point the difference of each
// variant to the baseline, with what is known about its error. By the rule of report/verdict.h a verdict
// comes from seeds; with fewer of them there is the scatter of the trials, which are the same for all models.
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

// The differences of the trials at one point, each the mean over the pairs of seeds (where no seed is shared,
// the difference of the means of both sides). Its error says how far other trials would move the difference
// of these very models; how far other seeds would is not in it.
struct TrialDifferences {
  double mean = std::numeric_limits<double>::quiet_NaN();
  double standard_error = std::numeric_limits<double>::quiet_NaN();  // NaN: fewer than two trials, or one
                                                                     // that is not finite
  int64_t trials = 0;
};

struct PointDifference {
  Estimate estimate;
  std::vector<SeedValue> seeds;  // candidate minus baseline of each shared seed
  TrialDifferences trials;
};

// A variant at all points. Means are over the seeds that are compared: where the sides share seeds, a
// candidate's shared ones, and of the baseline those that any candidate shares. NaN where a value of them is
// not finite.
struct VariantCurve {
  std::string variant;
  std::vector<uint64_t> seeds;
  std::vector<uint64_t> left_out;  // measured and not compared
  std::vector<double> means;
};

struct CurveCandidate {
  std::string variant;
  bool paired = false;  // the sides share a seed: only shared ones are in the differences
  Independence origin;  // of the models that the differences are over
  int64_t seeds = 0;    // shared ones, or runs of the side that has fewer; with values or without
  std::vector<PointDifference> points;
};

// One figure of models under one condition.
struct JudgedFigure {
  Figure figure = Figure::kLoss;
  std::string baseline;
  std::vector<VariantCurve> variants;      // in order of first appearance
  std::vector<CurveCandidate> candidates;  // all but the baseline, in that order
};

// Judges all candidates at all points as one family, since they are read together: their p values are
// corrected after Holm for the number of candidates times that of points. An accuracy and a share are counts,
// and seeds that agree by chance are no evidence of a scatter of zero. Below the smaller of the standard
// error over trials of one seed's difference and one trial's worth no scatter is believed, and never below
// one answer's worth, 1 / PointValue::tokens (Sides::least_scatter). Other figures have no such bound:
// where they do not scatter at all, the standard error is 0, and it has no interval to show.
//
// `curves` have the same points and trials, `baseline` is the variant of one of them, and no variant has a
// seed twice: all checked.
JudgedFigure judge_curves(Figure figure, std::span<const MeasuredCurve> curves, const std::string& baseline);

}  // namespace ssgpt::report
