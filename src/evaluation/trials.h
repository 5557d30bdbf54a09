// Trials: how many at a time, and from them to the figure of a point.
#pragma once

#include "report/measured.h"

#include <cstdint>
#include <vector>

namespace ssgpt::evaluation {

// Of trials with equally many tokens each, at least one: their mean, which is then that over all tokens, and
// its standard error, the deviation of the trials (unbiased) over the square root of their number; NaN for
// one trial. In fp64, in their order. Values that are not finite go through.
report::PointValue value_of_trials(std::vector<double> trials, int64_t tokens_of_each);

// How many windows or trials of `length` > 0 tokens are computed at a time: `asked`, or, where that is 0,
// about 8,192 tokens of them and at least one.
int64_t batch_size_of(int64_t asked, int64_t length);

}  // namespace ssgpt::evaluation
