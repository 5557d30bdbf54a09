#include "report/outcomes.h"

#include "report/series.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace ssgpt::report {
namespace {

// Values and weights whose mean is an outcome.
struct Points {
  std::vector<double> values;
  std::vector<double> weights;
};

double weighted_mean(const Points& points, const std::vector<double>& mask) {
  double sum = 0.0;
  double weight = 0.0;
  for (size_t i = 0; i < points.values.size(); ++i) {
    if (!std::isfinite(points.values[i]) || !std::isfinite(mask[i])) continue;
    sum += points.weights[i] * points.values[i];
    weight += points.weights[i];
  }
  return weight > 0.0 ? sum / weight : kNaN;
}

class Judge {
 public:
  explicit Judge(Comparison& comparison) : out_(comparison) {}

  void run() {
    for (const RunResult& run : out_.runs) fitted_.push_back(fit_curve(run.loss, out_.grid));
    for (CandidateResult& candidate : out_.candidates) {
      find_gaps(candidate);
      find_token_losses(candidate);
      fill_seeds(candidate);
    }
    for (const OutcomeKind kind : kOutcomes) judge_one(kind);
    for (CandidateResult& candidate : out_.candidates) {
      measure_noise(candidate);
      candidate.verdict = candidate.training.verdict();
      const Verdict other = candidate.validation ? candidate.validation->verdict() : Verdict::kNone;
      if (other != Verdict::kNone && other != candidate.verdict) candidate.verdict = Verdict::kNone;
    }
  }

 private:
  // The curves of the compared runs decide the losses that tokens are counted to, which are the same for all
  // seeds.
  void find_token_losses(CandidateResult& candidate) const {
    std::vector<const std::vector<double>*> curves;
    for (const std::vector<size_t>* side : {&candidate.runs, &candidate.baseline_runs}) {
      for (const size_t run : *side) {
        if (!fitted_[run].empty()) curves.push_back(&fitted_[run]);
      }
    }
    candidate.token_losses = shared_range(curves);
  }

  void find_gaps(CandidateResult& candidate) const {
    for (const size_t side : {candidate.variant, out_.baseline}) {
      for (const size_t i : out_.variants[side].variant.runs) {
        const RunResult& run = out_.runs[i];
        candidate.has_gaps |=
            run.ending.compared &&
            !std::all_of(run.loss.begin(), run.loss.end(), [](double loss) { return std::isfinite(loss); });
      }
    }
  }

  Points points(OutcomeKind kind, size_t run) const {
    const RunResult& one = out_.runs[run];
    Points result;
    if (kind == OutcomeKind::kValidation) {
      for (size_t i = 0; i < one.validation.size(); ++i) {
        const int64_t step = out_.validation_steps[i];
        if (step < out_.window.first_step || step > out_.window.last_step) continue;
        result.values.push_back(one.validation[i]);
        result.weights.push_back(1.0);
      }
      return result;
    }
    const bool whole = kind == OutcomeKind::kWholeCurve;
    const size_t end = whole ? out_.grid.size() : out_.window.end;
    for (size_t i = whole ? 0 : out_.window.begin; i < end; ++i) {
      result.values.push_back(one.loss[i]);
      result.weights.push_back(out_.grid[i].steps());
    }
    return result;
  }

  // The outcome's value for `run`; if paired, over the points at which its partner has a finite loss as well.
  double value(const CandidateResult& candidate, OutcomeKind kind, size_t run, size_t partner) const {
    if (kind == OutcomeKind::kTokens) return mean_log_tokens(fitted_[run], out_.grid, candidate.token_losses);
    return weighted_mean(points(kind, run), points(kind, partner).values);
  }

  Sides sides(OutcomeKind kind, const CandidateResult& candidate) const {
    const auto seed_value = [&](size_t run, size_t partner) {
      return SeedValue{out_.runs[run].data.config.run.seed, value(candidate, kind, run, partner)};
    };
    Sides result;
    result.independent = candidate.origin.independent;
    if (!candidate.paired) {
      for (const size_t run : candidate.runs) result.candidate.push_back(seed_value(run, run));
      for (const size_t run : candidate.baseline_runs) result.baseline.push_back(seed_value(run, run));
      return result;
    }
    for (const auto& [run, partner] : candidate.pairs) {
      result.candidate.push_back(seed_value(run, partner));
      result.baseline.push_back(seed_value(partner, run));
    }
    return result;
  }

  void fill_seeds(CandidateResult& candidate) const {
    for (size_t i = 0; i < candidate.seeds.size(); ++i) {
      const auto& [run, partner] = candidate.pairs[i];
      SeedDifference& seed = candidate.seeds[i];
      const auto difference = [&, a = run, b = partner](OutcomeKind kind) {
        return value(candidate, kind, a, b) - value(candidate, kind, b, a);
      };
      seed.training = difference(OutcomeKind::kTraining);
      seed.validation = difference(OutcomeKind::kValidation);
      seed.whole_curve = difference(OutcomeKind::kWholeCurve);
      seed.tokens = difference(OutcomeKind::kTokens);
    }
  }

  // The difference that rounding alone may cause in this outcome, at the largest loss of the judged runs: for
  // the losses directly, and for the tokens by how far they move if the whole curve is shifted by that much.
  double rounding(OutcomeKind kind, const CandidateResult& candidate) const {
    double largest = 0.0;
    for (const std::vector<size_t>* side : {&candidate.runs, &candidate.baseline_runs}) {
      for (const size_t run : *side) {
        const OutcomeKind losses = kind == OutcomeKind::kTokens ? OutcomeKind::kWholeCurve : kind;
        double size = loss_rounding(value(candidate, losses, run, run));
        if (kind == OutcomeKind::kTokens) {
          std::vector<double> moved = fitted_[run];
          for (double& loss : moved) loss += size;
          size = std::abs(mean_log_tokens(moved, out_.grid, candidate.token_losses) -
                          mean_log_tokens(fitted_[run], out_.grid, candidate.token_losses));
        }
        if (std::isfinite(size)) largest = std::max(largest, size);
      }
    }
    return largest;
  }

  void judge_one(OutcomeKind kind) {
    std::vector<Sides> of_candidates;
    for (const CandidateResult& candidate : out_.candidates) of_candidates.push_back(sides(kind, candidate));
    const std::vector<Estimate> estimates = judge(of_candidates);
    for (size_t i = 0; i < estimates.size(); ++i) {
      CandidateResult& candidate = out_.candidates[i];
      Estimate estimate = estimates[i];
      const bool whole = kind == OutcomeKind::kWholeCurve || kind == OutcomeKind::kTokens;
      estimate.failed = candidate.failed || (whole && candidate.has_gaps);
      estimate.rounding = rounding(kind, candidate);
      switch (kind) {
        case OutcomeKind::kTraining:
          candidate.training = estimate;
          break;
        case OutcomeKind::kValidation:
          if (!std::isnan(estimate.mean)) candidate.validation = estimate;
          break;
        case OutcomeKind::kWholeCurve:
          candidate.whole_curve = estimate;
          break;
        case OutcomeKind::kTokens:
          candidate.tokens = estimate;
          break;
      }
    }
  }

  void measure_noise(CandidateResult& candidate) const {
    const FinitePoints training =
        finite_in(candidate.difference, out_.grid, out_.window.begin, out_.window.end);
    candidate.training_noise = batch_means(training.values, training.weights);
    std::vector<double> validation;
    for (size_t i = 0; i < candidate.validation_difference.size(); ++i) {
      const int64_t step = out_.validation_steps[i];
      const double value = candidate.validation_difference[i];
      if (step >= out_.window.first_step && step <= out_.window.last_step && std::isfinite(value))
        validation.push_back(value);
    }
    candidate.validation_noise = batch_means(validation, std::vector<double>(validation.size(), 1.0));
  }

  Comparison& out_;
  std::vector<std::vector<double>> fitted_;  // fit_curve of each run
};

}  // namespace

std::string_view key(OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kTraining:
      return "training";
    case OutcomeKind::kValidation:
      return "validation";
    case OutcomeKind::kWholeCurve:
      return "whole_curve";
    case OutcomeKind::kTokens:
      return "tokens";
  }
  return "";
}

std::string_view title(OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kTraining:
      return "training loss";
    case OutcomeKind::kValidation:
      return "validation loss";
    case OutcomeKind::kWholeCurve:
      return "training loss, whole curve";
    case OutcomeKind::kTokens:
      return "tokens to the same loss";
  }
  return "";
}

const Estimate* estimate_of(const CandidateResult& candidate, OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kTraining:
      return &candidate.training;
    case OutcomeKind::kValidation:
      return candidate.validation ? &*candidate.validation : nullptr;
    case OutcomeKind::kWholeCurve:
      return &candidate.whole_curve;
    case OutcomeKind::kTokens:
      return &candidate.tokens;
  }
  return nullptr;
}

Verdict verdict_of(const CandidateResult& candidate, OutcomeKind kind) {
  if (kind == kOutcomes.front()) return candidate.verdict;
  const Estimate* estimate = estimate_of(candidate, kind);
  return estimate ? estimate->verdict() : Verdict::kNone;
}

double value_of(const SeedDifference& seed, OutcomeKind kind) {
  switch (kind) {
    case OutcomeKind::kTraining:
      return seed.training;
    case OutcomeKind::kValidation:
      return seed.validation;
    case OutcomeKind::kWholeCurve:
      return seed.whole_curve;
    case OutcomeKind::kTokens:
      return seed.tokens;
  }
  return kNaN;
}

double loss_rounding(double loss) {
  if (!std::isfinite(loss)) return 0.0;
  const auto size = static_cast<float>(std::abs(loss));
  return static_cast<double>(std::nextafter(size, std::numeric_limits<float>::infinity())) -
         static_cast<double>(size);
}

double percent(double log_ratio) {
  return 100.0 * std::expm1(log_ratio);
}

int decimals(const Estimate& estimate) {
  constexpr int kUsual = 4;
  constexpr int kMost = 12;
  const double size = estimate.half_width > 0.0 ? estimate.half_width : std::abs(estimate.mean);
  if (!estimate.tested() || !(size > 0.0) || size >= 1e-3) return kUsual;
  return std::min(kMost, 1 - static_cast<int>(std::floor(std::log10(size))));
}

int percent_decimals(const Estimate& estimate) {
  const int digits = decimals(estimate);
  return digits == 4 ? 1 : digits - 2;
}

void judge_outcomes(Comparison& comparison) {
  Judge(comparison).run();
}

}  // namespace ssgpt::report
