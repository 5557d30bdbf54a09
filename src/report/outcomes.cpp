#include "report/outcomes.h"

#include "report/series.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace ssgpt::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Values and weights of what an outcome is the mean of.
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
    find_common_loss();
    for (CandidateResult& candidate : out_.candidates) fill_seeds(candidate);
    for (const OutcomeKind kind : kOutcomes) judge_one(kind);
    for (CandidateResult& candidate : out_.candidates) {
      measure_noise(candidate);
      candidate.verdict = candidate.training.verdict();
      const Verdict other = candidate.validation ? candidate.validation->verdict() : Verdict::kNone;
      if (other != Verdict::kNone && other != candidate.verdict) candidate.verdict = Verdict::kNone;
    }
  }

 private:
  // The worst of the final smoothed losses: every run reaches it. Runs that diverged do not lower the bar.
  void find_common_loss() {
    for (const RunResult& run : out_.runs) {
      smoothed_.push_back(smooth(run.loss, out_.smoothing_points));
      const double last = smoothed_.back().back();
      if (run.ending.compared && std::isfinite(last) && !nonfinite_losses(out_, run).any())
        out_.common_loss = std::isnan(out_.common_loss) ? last : std::max(out_.common_loss, last);
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

  // What `run` gives; where it is paired, over the points at which its partner has a finite loss as well.
  double value(OutcomeKind kind, size_t run, size_t partner) const {
    if (kind == OutcomeKind::kTokens) {
      const std::optional<double> tokens = tokens_to_reach(smoothed_[run], out_.grid, out_.common_loss);
      return tokens ? std::log(*tokens) : kNaN;
    }
    return weighted_mean(points(kind, run), points(kind, partner).values);
  }

  SeedValue seed_value(OutcomeKind kind, size_t run, size_t partner) const {
    return {out_.runs[run].data.config.run.seed, value(kind, run, partner)};
  }

  Sides sides(OutcomeKind kind, const CandidateResult& candidate) const {
    Sides result;
    if (!candidate.paired) {
      for (const size_t run : candidate.runs) result.candidate.push_back(seed_value(kind, run, run));
      for (const size_t run : candidate.baseline_runs) result.baseline.push_back(seed_value(kind, run, run));
      return result;
    }
    for (const auto& [run, partner] : candidate.pairs) {
      result.candidate.push_back(seed_value(kind, run, partner));
      result.baseline.push_back(seed_value(kind, partner, run));
    }
    return result;
  }

  void fill_seeds(CandidateResult& candidate) const {
    for (size_t i = 0; i < candidate.seeds.size(); ++i) {
      const auto& [run, partner] = candidate.pairs[i];
      SeedDifference& seed = candidate.seeds[i];
      const auto difference = [&, a = run, b = partner](OutcomeKind kind) {
        return value(kind, a, b) - value(kind, b, a);
      };
      seed.training = difference(OutcomeKind::kTraining);
      seed.validation = difference(OutcomeKind::kValidation);
      seed.whole_curve = difference(OutcomeKind::kWholeCurve);
      seed.tokens = difference(OutcomeKind::kTokens);
    }
  }

  void judge_one(OutcomeKind kind) {
    Outcome outcome{std::string(key(kind)), {}};
    for (const CandidateResult& candidate : out_.candidates)
      outcome.candidates.push_back(sides(kind, candidate));
    const std::vector<Estimate> estimates = judge(outcome);
    for (size_t i = 0; i < estimates.size(); ++i) {
      CandidateResult& candidate = out_.candidates[i];
      Estimate estimate = estimates[i];
      estimate.failed = candidate.failed;
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
  std::vector<std::vector<double>> smoothed_;  // of each run
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
      return "tokens to a shared loss";
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

double percent(double log_ratio) {
  return 100.0 * std::expm1(log_ratio);
}

void judge_outcomes(Comparison& comparison) {
  Judge(comparison).run();
}

}  // namespace ssgpt::report
