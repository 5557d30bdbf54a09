#include "report/comparison.h"

#include "core/error.h"
#include "core/outputs.h"
#include "report/coverage.h"
#include "report/lineage.h"
#include "report/outcomes.h"
#include "report/series.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::report {
namespace {

constexpr size_t kSegments = 10;

bool in_window(const Comparison& comparison, int64_t step) {
  return step >= comparison.window.first_step && step <= comparison.window.last_step;
}

// Builds a Comparison in the order of its fields.
class Builder {
 public:
  Comparison build(const Options& options) {
    read(options);
    const std::vector<Variant> variants = group_by_settings(runs_, out_.notes);
    find_baseline(variants, options);
    endings_ = endings(runs_, variants, out_.baseline);
    align(options.window);
    for (Note& note : coverage_notes(runs_, endings_, out_.grid)) out_.notes.push_back(std::move(note));
    out_.short_comparison = short_comparison(runs_, endings_, out_.grid);
    make_variants(variants);
    for (size_t i = 0; i < out_.variants.size(); ++i) {
      if (i != out_.baseline) out_.candidates.push_back(compare_with_baseline(i));
    }
    judge_outcomes(out_);
    for (const CandidateResult& candidate : out_.candidates) describe_pairing(candidate);
    if (!out_.validation_steps.empty())
      out_.notes.push_back({false,
                            "Every evaluation reads the same validation text: the choice of validation "
                            "text is not in the error of the validation loss."});
    average_variants();
    for (CandidateResult& candidate : out_.candidates) candidate.summary = summarize(out_, candidate);
    return std::move(out_);
  }

 private:
  void read(const Options& options) {
    if (options.runs.size() < 2) {
      throw core::UsageError("A comparison needs two runs or more, {} given: ssgpt compare RUN RUN...",
                             options.runs.size());
    }
    for (size_t i = 0; i < options.runs.size(); ++i) {
      for (size_t k = 0; k < i; ++k) {
        if (core::is_same_path(options.runs[i], options.runs[k])) {
          throw core::UsageError("{} is given twice; name each run once.", options.runs[i].string());
        }
      }
      runs_.push_back(read_run(options.runs[i]));
    }
    if (options.baseline) {
      const auto found = std::find_if(options.runs.begin(), options.runs.end(), [&](const auto& run) {
        return core::is_same_path(run, *options.baseline);
      });
      if (found == options.runs.end()) {
        throw core::UsageError("--baseline {} is none of the runs that are compared; name it among them.",
                               options.baseline->string());
      }
      baseline_run_ = static_cast<size_t>(found - options.runs.begin());
    }
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (i == baseline_run_) continue;
      for (Note& note : check_comparable(runs_[baseline_run_], runs_[i]))
        out_.notes.push_back(std::move(note));
    }
  }

  void align(const std::optional<std::string>& window) {
    std::vector<const RunData*> compared;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (endings_[i].compared) compared.push_back(&runs_[i]);
    }
    out_.grid = shared_stretches(compared);
    out_.window = select_window(out_.grid, window);
    align_validations(compared);
  }

  void align_validations(const std::vector<const RunData*>& compared) {
    for (const RunData& run : runs_) {
      if (run.config.data.sequence_length == runs_[baseline_run_].config.data.sequence_length) continue;
      out_.notes.push_back(
          {true,
           fmt::format("Validation losses are not compared: data.sequence_length differs between {} and {}.",
                       runs_[baseline_run_].directory.string(), run.directory.string())});
      return;
    }
    SharedValidations shared = shared_validations(compared);
    out_.validation_steps = std::move(shared.steps);
    if (shared.left_out == 0) return;
    out_.notes.push_back(
        {true, out_.validation_steps.empty()
                   ? fmt::format("Validation losses are not compared: {}.", shared.reason)
                   : fmt::format("Validation losses at {} of the shared steps are left out: {}.",
                                 shared.left_out, shared.reason)});
  }

  void find_baseline(const std::vector<Variant>& variants, const Options& options) {
    const auto found = std::find_if(variants.begin(), variants.end(), [&](const Variant& variant) {
      return std::find(variant.runs.begin(), variant.runs.end(), baseline_run_) != variant.runs.end();
    });
    if (found == variants.end()) {
      throw core::UsageError("--baseline {} repeats the settings and seed of an earlier run; name that one.",
                             options.baseline->string());
    }
    out_.baseline = static_cast<size_t>(found - variants.begin());
  }

  void make_variants(const std::vector<Variant>& variants) {
    const std::vector<std::string> labels = label_runs(runs_, variants);
    out_.smoothing_points = smoothing_points();
    out_.smoothing_steps =
        out_.smoothing_points *
        static_cast<double>(out_.grid.back().last_step - out_.grid.front().first_step + 1) /
        static_cast<double>(out_.grid.size());
    for (size_t i = 0; i < runs_.size(); ++i) {
      RunResult run;
      run.loss = losses_on(runs_[i], out_.grid);
      run.validation = validation_on(runs_[i], out_.validation_steps);
      run.label = labels[i];
      run.used = !labels[i].empty();
      run.ending = endings_[i];
      run.data = std::move(runs_[i]);
      out_.runs.push_back(std::move(run));
    }
    for (const Variant& variant : variants) {
      VariantResult& result = out_.variants.emplace_back();
      result.variant = variant;
      for (const size_t run : variant.runs) {
        if (endings_[run].stopped) result.stopped.push_back(run);
        if (endings_[run].compared && nonfinite_losses(out_, out_.runs[run]).any())
          result.diverged.push_back(run);
      }
    }
  }

  // Called after the candidates: a variant's means are over the runs whose differences are taken.
  void average_variants() {
    for (size_t i = 0; i < out_.variants.size(); ++i) {
      std::set<size_t> compared;
      for (const CandidateResult& one : out_.candidates) {
        if (i == one.variant) compared.insert(one.runs.begin(), one.runs.end());
        if (i == out_.baseline) compared.insert(one.baseline_runs.begin(), one.baseline_runs.end());
      }
      VariantResult& variant = out_.variants[i];
      variant.averaged.assign(compared.begin(), compared.end());
      const Mean mean = average(variant.averaged);
      variant.loss = mean.loss;
      variant.smoothed = mean.smoothed;
      variant.validation = mean.validation;
      variant.window_loss = window_mean(mean.loss);
    }
    const VariantResult& baseline = out_.variants[out_.baseline];
    out_.target_loss = baseline.smoothed.back();
    for (VariantResult& variant : out_.variants)
      variant.tokens_to_target = tokens_to_reach(variant.smoothed, out_.grid, out_.target_loss);
    for (const CandidateResult& one : out_.candidates) {
      if (one.baseline_runs.size() == baseline.averaged.size()) continue;
      out_.notes.push_back(
          {true, fmt::format("The losses of {} by themselves are means over the seeds {}, but {} is compared "
                             "with it over the seeds {} alone.",
                             baseline.variant.label, seeds_of(baseline.averaged),
                             out_.variants[one.variant].variant.label, seeds_of(one.baseline_runs))});
    }
  }

  // The smoothed curves look back over a 50th of the points, or over four, if that is more.
  double smoothing_points() const {
    const double points = static_cast<double>(out_.grid.size());
    return std::max({1.0, points / 50.0, std::min(4.0, points / 10.0)});
  }

  struct Mean {
    std::vector<double> loss;
    std::vector<double> smoothed;
    std::vector<double> validation;
  };

  // NaN everywhere if there are no runs.
  Mean average(const std::vector<size_t>& runs) const {
    std::vector<std::vector<double>> losses;
    std::vector<std::vector<double>> validations;
    for (const size_t run : runs) {
      losses.push_back(out_.runs[run].loss);
      validations.push_back(out_.runs[run].validation);
    }
    if (runs.empty()) {
      losses.emplace_back(out_.grid.size(), std::numeric_limits<double>::quiet_NaN());
      validations.emplace_back(out_.validation_steps.size(), std::numeric_limits<double>::quiet_NaN());
    }
    Mean mean;
    mean.loss = mean_over(losses);
    mean.smoothed = smooth(mean.loss, out_.smoothing_points);
    mean.validation = mean_over(validations);
    return mean;
  }

  uint64_t seed(size_t run) const { return out_.runs[run].data.config.run.seed; }

  std::string seeds_of(const std::vector<size_t>& runs) const {
    std::vector<uint64_t> seeds;
    for (const size_t run : runs) seeds.push_back(seed(run));
    return fmt::format("{}", fmt::join(seeds, ", "));
  }

  // Fills in which runs are compared with which.
  void pair_runs(const Variant& candidate, const Variant& baseline, CandidateResult& result) const {
    const auto compared = [&](size_t run) {
      return endings_[run].compared;
    };
    for (const size_t a : candidate.runs) {
      for (const size_t b : baseline.runs) {
        if (seed(a) != seed(b)) continue;
        result.paired = true;
        if (!compared(a) || !compared(b)) continue;
        result.pairs.emplace_back(a, b);
        result.seeds.push_back({.seed = seed(a)});
        result.runs.push_back(a);
        result.baseline_runs.push_back(b);
      }
    }
    if (result.paired) return;
    std::copy_if(candidate.runs.begin(), candidate.runs.end(), std::back_inserter(result.runs), compared);
    std::copy_if(baseline.runs.begin(), baseline.runs.end(), std::back_inserter(result.baseline_runs),
                 compared);
  }

  double window_mean(const std::vector<double>& values) const {
    return mean_in(values, out_.grid, out_.window.begin, out_.window.end);
  }

  Origin origin_of(const Variant& variant, const std::vector<size_t>& runs) const {
    Origin origin{.label = variant.label, .runs = {}};
    for (const size_t run : runs) origin.runs.push_back(&out_.runs[run].data.lineage);
    return origin;
  }

  CandidateResult compare_with_baseline(size_t variant) {
    const Variant& candidate = out_.variants[variant].variant;
    const Variant& baseline = out_.variants[out_.baseline].variant;
    CandidateResult result;
    result.variant = variant;
    pair_runs(candidate, baseline, result);
    result.origin = judge_independence(origin_of(candidate, result.runs),
                                       origin_of(baseline, result.baseline_runs), result.paired);
    const Mean left = average(result.runs);
    const Mean right = average(result.baseline_runs);
    result.difference = subtract(left.loss, right.loss);
    result.smoothed_difference = smooth(result.difference, out_.smoothing_points);
    result.validation_difference = subtract(left.validation, right.validation);
    for (const size_t side : {variant, out_.baseline})
      result.failed |= !out_.variants[side].diverged.empty() || !out_.variants[side].stopped.empty();
    result.segments = cut_into_segments(left.loss, right.loss, result.difference);
    const auto [own, other] = result.pairs.empty() ? std::pair(candidate.runs.front(), baseline.runs.front())
                                                   : result.pairs.front();
    result.settings = setting_differences(out_.runs[other].data, out_.runs[own].data);
    result.attention_alone = attention_alone_differs(result.settings);
    return result;
  }

  void describe_pairing(const CandidateResult& result) {
    const Variant& candidate = out_.variants[result.variant].variant;
    const Variant& baseline = out_.variants[out_.baseline].variant;
    if (!result.paired) {
      out_.notes.push_back({true, fmt::format("{} and {} share no seed: they start from other weights and "
                                              "read the text in another order, so "
                                              "pairing does not cancel the noise of both.",
                                              candidate.label, baseline.label)});
    } else if (result.seeds.size() < candidate.runs.size() || result.seeds.size() < baseline.runs.size()) {
      out_.notes.push_back(
          {false, fmt::format("Of {} and {}, only the seeds that both have ({}) are compared and in the mean "
                              "losses; the others are left out.",
                              candidate.label, baseline.label, seeds_of(result.runs))});
    }
    if (!result.training.tested() && result.training_noise.correlated) {
      out_.notes.push_back(
          {true, fmt::format("The difference between {} and {} drifts or is correlated through the "
                             "window (over about {:.0f} of {} points): the noise along its curve is "
                             "larger than stated.",
                             candidate.label, baseline.label, result.training_noise.correlation_time,
                             result.training_noise.points)});
    }
  }

  std::vector<Segment> cut_into_segments(const std::vector<double>& candidate,
                                         const std::vector<double>& baseline,
                                         const std::vector<double>& difference) const {
    std::vector<Segment> segments;
    const size_t points = out_.grid.size();
    const size_t count = std::min(kSegments, points);
    for (size_t k = 0; k < count; ++k) {
      const size_t begin = points * k / count;
      const size_t end = points * (k + 1) / count;
      segments.push_back({out_.grid[begin].first_step, out_.grid[end - 1].last_step,
                          mean_in(baseline, out_.grid, begin, end), mean_in(candidate, out_.grid, begin, end),
                          mean_in(difference, out_.grid, begin, end)});
    }
    return segments;
  }

  std::vector<RunData> runs_;
  size_t baseline_run_ = 0;
  std::vector<Ending> endings_;  // of each of runs_
  Comparison out_;
};

}  // namespace

NonfiniteLosses nonfinite_losses(const Comparison& comparison, const RunResult& run) {
  NonfiniteLosses result;
  for (size_t i = comparison.window.begin; i < comparison.window.end; ++i)
    result.training += !std::isfinite(run.loss[i]);
  for (size_t i = 0; i < run.validation.size(); ++i)
    result.validation +=
        in_window(comparison, comparison.validation_steps[i]) && !std::isfinite(run.validation[i]);
  return result;
}

Comparison compare(const Options& options) {
  return Builder().build(options);
}

}  // namespace ssgpt::report
