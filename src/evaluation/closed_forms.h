// What the row scale of each kind of attention makes of vectors of logits that are given: no checkpoint, but
// the very code that scales the scores of a model.
#pragma once

#include "config/attention_kind.h"
#include "report/closed_forms.h"

#include <cstdint>
#include <vector>

namespace ssgpt::evaluation {

struct ClosedFormOptions {
  std::vector<config::AttentionKind> kinds = {config::AttentionKind::kSoftmax, config::AttentionKind::kSsmax};
  double scale = 0.43;  // s of the kinds that have one; 0.43 is that of the paper's figure 1
  double bias = 0.0;    // b of the kinds that have one
  // T, a and f of the kinds that have them; 1,024 positions are the paper's.
  config::PositionConstants constants = {.trained_length = 1024};
  double high = 3.0;  // the one logit of the fading curves, and the others, which are smaller
  double low = -2.0;
  std::vector<int64_t> lengths;  // n of the fading curves, rising, from 1 on; none: see default_lengths()
  std::vector<int64_t> sizes = {10, 100, 1000, 10000};  // n of the focus curves, rising, from 3 on
};

// n from 1 to 100,000, twelve a decade, each a whole number once.
std::vector<int64_t> default_lengths();

// Under SSMax, logits that are 1/s apart have weights that are apart by the factor n, whatever n is. So
//   n logits, one at z_max = high and n - 1 at low (figure 1): attention to the first fades with n under
//   Softmax,
//     under SSMax only where high - low is below 1/s;
//   n logits, one at z_max and n - 1 at 0, 1/(n - 2), ..., 1 (figure 3): as n grows, attention nears 1 where
//   z_max is
//     above the second by more than 1/s, and 0 where it is above the least by less than 1/s. Between the two
//     it depends on how the others lie: these, many of which are near 1, have the upper bound, 1 + 1/s, for
//     both.
// c(n) comes from model::make_position_table and kernels::rope_forward (model::score_factors), in fp32 as in
// every model; the softmax of c(n) z is the plain one in fp64. z_max of the second goes in a hundred steps
// from 0 to 1 + 2/s.
//
// Throws core::UsageError for no kind, one that is listed twice, a learned p_n, which has no closed form, a
// scale out of 1e-6 to 1e6, a bias, high or low out of -1e6 to 1e6, high that is not above low, constants
// that no config allows, and lengths that are out of range or do not rise.
report::ClosedForms compute_closed_forms(const ClosedFormOptions& options);

}  // namespace ssgpt::evaluation
