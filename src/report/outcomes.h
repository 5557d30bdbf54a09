// The figures of a comparison that are judged over seeds: which they are, and their values for each run.
#pragma once

#include "report/comparison.h"

#include <array>
#include <string_view>

namespace ssgpt::report {

enum class OutcomeKind { kTraining, kValidation, kWholeCurve, kTokens };

// In the order in which they are reported. The first decides the verdict of a comparison; each of the others
// is a further outcome with a test of its own, and only an opposite validation loss cancels the verdict.
inline constexpr std::array kOutcomes = {OutcomeKind::kTraining, OutcomeKind::kValidation,
                                         OutcomeKind::kWholeCurve, OutcomeKind::kTokens};

std::string_view key(OutcomeKind kind);    // "training", "validation", "whole_curve", "tokens"
std::string_view title(OutcomeKind kind);  // "training loss", ..., "tokens to the same loss"

// The candidate's estimate; null if there is none (no validation loss in the window).
const Estimate* estimate_of(const CandidateResult& candidate, OutcomeKind kind);
// The verdict of its estimate; for the deciding outcome the candidate's, which an opposite validation loss
// cancels.
Verdict verdict_of(const CandidateResult& candidate, OutcomeKind kind);

double value_of(const SeedDifference& seed, OutcomeKind kind);

// The spacing of fp32 at `loss`, 2^-23 of the power of two below it: 2.4e-7 from 2 to 4. A loss is the mean
// of fp32 values, each rounded by up to half the spacing, so a difference of two may be off by up to all of
// it. 0 for a loss that is not finite.
double loss_rounding(double loss);

// A difference of logarithms as a change in per cent: -0.1 is -9.5.
double percent(double log_ratio);

// Number of decimals for a difference of losses: 4, or as many more as it takes to show two digits of the
// half width of its interval (of the difference itself, if the interval has no width).
int decimals(const Estimate& estimate);

// The same for a difference of logarithms in per cent: 1, or more by the same rule.
int percent_decimals(const Estimate& estimate);

// Fills in the differences of the seeds, every Estimate, the noise along the curves and the verdict of each
// candidate, and the losses that the tokens are counted to, from the runs, the pairs and the shared steps.
void judge_outcomes(Comparison& comparison);

}  // namespace ssgpt::report
