// The effect of each attention kind's row scale on given vectors of logits: without a checkpoint, but with
// the very code that scales the scores of a model.
#pragma once

#include "config/attention_kind.h"
#include "report/closed_forms.h"

#include <cstdint>
#include <vector>

namespace ssgpt::evaluation {

struct ClosedFormOptions {
  std::vector<config::AttentionKind> kinds = {config::AttentionKind::kSoftmax, config::AttentionKind::kSsmax};
  double scale = 0.43;  // s for the kinds that have one; 0.43 is from the paper's figure 1
  double bias = 0.0;    // b for the kinds that have one
  // T, a and f for the kinds that have them; 1,024 positions are the paper's.
  config::PositionConstants constants = {.trained_length = 1024};
  double high = 3.0;  // fading curves: the one high logit, and the others, which are lower
  double low = -2.0;
  std::vector<int64_t> lengths;  // n of the fading curves, ascending, from 1; empty: default_lengths()
  std::vector<int64_t> sizes = {10, 100, 1000, 10000};  // n of the focus curves, ascending, from 3
};

// n from 1 to 100,000, twelve per decade, without duplicates after rounding.
std::vector<int64_t> default_lengths();

// Under SSMax, logits that differ by 1/s have weights that differ by the factor n, whatever n is. So
//   n logits, one at z_max = high and n - 1 at low (figure 1): attention to the first fades with n under
//     Softmax, but under SSMax only if high - low is below 1/s;
//   n logits, one at z_max and n - 1 at 0, 1/(n - 2), ..., 1 (figure 3): as n grows, attention approaches 1
//     if z_max is above the second largest by more than 1/s, and 0 if it is above the smallest by less than
//     1/s. In between it depends on the distribution of the others: these, many of which are near 1, have
//     the upper bound, 1 + 1/s, as the limit of both.
// c(n) comes from model::make_position_table and kernels::rope_forward (model::score_factors), in fp32 as in
// every model; the softmax of c(n) z is a plain one in fp64. z_max of the second form runs from 0 to 1 + 2/s
// in a hundred steps.
//
// Throws core::UsageError for no kind, one that is listed twice, a learned p_n, which has no closed form, a
// scale outside 1e-6 to 1e6, a bias, high or low outside -1e6 to 1e6, high that is not above low, constants
// that no config allows, and lengths that are out of range or not ascending.
report::ClosedForms compute_closed_forms(const ClosedFormOptions& options);

}  // namespace ssgpt::evaluation
