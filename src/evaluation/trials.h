// Trials: how many to compute at a time, and how a point's value follows from them.
#pragma once

#include "report/measured.h"

#include <cstdint>
#include <vector>

namespace ssgpt::evaluation {

// The mean of trials with equally many tokens each, at least one trial, which is then the mean over all
// tokens, and its standard error: the trials' standard deviation (unbiased) over the square root of their
// number; NaN for one trial. In fp64, in their order. Values that are not finite are passed on.
report::PointValue value_of_trials(std::vector<double> trials, int64_t tokens_of_each);

// Number of windows or trials of `length` > 0 tokens to compute at a time: `asked` or, if that is 0, as many
// as have about 8,192 tokens, and at least one.
int64_t batch_size_of(int64_t asked, int64_t length);

}  // namespace ssgpt::evaluation
