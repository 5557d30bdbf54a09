// The number of tokens that runs need to reach the same loss, robust enough for a test between seeds.
//
// Where a lightly smoothed curve first crosses one level is decided by the dips of the text's noise, which
// one run catches and its partner misses. So the curves are fitted over a fifth of their points, and the
// logarithm of the tokens is averaged over all losses of a range.
#pragma once

#include "report/grid.h"

#include <vector>

namespace ssgpt::report {

// `losses` on `grid` with most of their noise removed: at each point the straight line in the logarithm of
// the tokens, by least squares weighted by steps, over the fifth of the points around it (at the ends the
// first and the last fifth). Empty if a loss is not finite, or if there are fewer than 15 points, a fifth of
// which cannot define a line.
std::vector<double> fit_curve(const std::vector<double>& losses, const std::vector<Stretch>& grid);

// Losses from `highest` down to `lowest`, NaN if there are none.
struct LossRange {
  double highest;
  double lowest;
};

// The losses that all the fitted `curves`, none of them empty, fall through after a quarter of their points:
// from the lowest of their losses there to the highest of their last ones. NaN if that is not a fall.
LossRange shared_range(const std::vector<const std::vector<double>*>& curves);

// The logarithm of the tokens at which `curve` reaches a loss, averaged over the losses of the range. For a
// curve f that only falls this is, with x the logarithm of the tokens, starting at x0,
//   x0 + integral over x of clamp((f(x) - lowest) / (highest - lowest), 0, 1),
// and that is computed for any curve, by the trapezoidal rule: it has no first crossing that noise could
// move. `range`: a shared_range of curves that include this one. NaN if the curve is empty or the range is
// NaN.
double mean_log_tokens(const std::vector<double>& curve, const std::vector<Stretch>& grid,
                       const LossRange& range);

}  // namespace ssgpt::report
