// How many tokens runs need to come down to the same loss, steadily enough for a test between seeds.
//
// Where a lightly smoothed curve first crosses one level is decided by the dips of the text's noise, of which
// a run takes one and its partner misses it. So the curves are fitted over a fifth of their points, and the
// logarithm of the tokens is averaged over all losses of a range.
#pragma once

#include "report/grid.h"

#include <vector>

namespace ssgpt::report {

// `losses` on `grid` without most of their noise: at each point the straight line in the logarithm of the
// tokens, by least squares weighted by steps, over the fifth of the points around it (at the ends the first
// and the last fifth). Empty where a loss is not finite, and where there are fewer than 15 points, for which
// a fifth is no line.
std::vector<double> fit_curve(const std::vector<double>& losses, const std::vector<Stretch>& grid);

// Losses, from `highest` down to `lowest`, NaN where there are none.
struct LossRange {
  double highest;
  double lowest;
};

// What every one of the fitted `curves`, none of them empty, comes down through after a quarter of its
// points: from the lowest of their losses there to the highest of their last ones. None where that is no
// fall.
LossRange shared_range(const std::vector<const std::vector<double>*>& curves);

// The logarithm of the tokens at which `curve` comes down to a loss, averaged over the losses of the range.
// Of a curve f that only falls that is, with x the logarithm of the tokens, which begin at x0,
//   x0 + integral over x of clamp((f(x) - lowest) / (highest - lowest), 0, 1),
// and this is what is taken of any, by the trapezoidal rule: it has no first crossing that noise could move.
// `range`: a shared_range of curves with this one. NaN where the curve is empty or the range is none.
double mean_log_tokens(const std::vector<double>& curve, const std::vector<Stretch>& grid,
                       const LossRange& range);

}  // namespace ssgpt::report
