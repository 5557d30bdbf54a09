#include "report/comparison.h"

#include "core/error.h"
#include "report/series.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kSegments = 10;

// Values and weights without what is not finite.
struct FinitePoints {
  std::vector<double> values;
  std::vector<double> weights;
};

FinitePoints finite_in(const std::vector<double>& values, const std::vector<Stretch>& grid, size_t begin,
                       size_t end) {
  FinitePoints points;
  for (size_t i = begin; i < end; ++i) {
    if (!std::isfinite(values[i])) continue;
    points.values.push_back(values[i]);
    points.weights.push_back(grid[i].steps());
  }
  return points;
}

double mean_in(const std::vector<double>& values, const std::vector<Stretch>& grid, size_t begin,
               size_t end) {
  const FinitePoints points = finite_in(values, grid, begin, end);
  const double weight = std::accumulate(points.weights.begin(), points.weights.end(), 0.0);
  return std::inner_product(points.values.begin(), points.values.end(), points.weights.begin(), 0.0) / weight;
}

// Builds a Comparison in the order of its fields.
class Builder {
 public:
  Comparison build(const Options& options) {
    read(options);
    align(options.window);
    describe_coverage();
    make_variants(options);
    for (size_t i = 0; i < out_.variants.size(); ++i) {
      if (i != out_.baseline) out_.candidates.push_back(compare_with_baseline(i));
    }
    if (!out_.validation_steps.empty())
      out_.notes.push_back({false,
                            "Every evaluation reads the same validation text: the choice of validation "
                            "text is not in the error of the validation loss."});
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
        if (same_path(options.runs[i], options.runs[k])) {
          throw core::UsageError("{} is given twice; name each run once.", options.runs[i].string());
        }
      }
      runs_.push_back(read_run(options.runs[i]));
    }
    if (options.baseline) {
      const auto found = std::find_if(options.runs.begin(), options.runs.end(),
                                      [&](const auto& run) { return same_path(run, *options.baseline); });
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

  static bool same_path(const std::filesystem::path& a, const std::filesystem::path& b) {
    return std::filesystem::weakly_canonical(a) == std::filesystem::weakly_canonical(b);
  }

  void align(const std::optional<std::string>& window) {
    out_.grid = shared_stretches(runs_);
    out_.window = select_window(out_.grid, window);
    out_.validation_steps = shared_validation_steps(runs_);
    for (size_t i = 0; i < runs_.size(); ++i) {
      const std::optional<std::string> mismatch = validation_mismatch(runs_[baseline_run_], runs_[i]);
      if (!mismatch) continue;
      out_.validation_steps.clear();
      out_.notes.push_back(
          {true, fmt::format("Validation losses are not compared: {} between {} and {}.", *mismatch,
                             runs_[baseline_run_].directory.string(), runs_[i].directory.string())});
      break;
    }
  }

  void describe_coverage() {
    const int64_t last = out_.grid.back().last_step;
    int64_t shortest = std::numeric_limits<int64_t>::max();
    int64_t longest = 0;
    for (const RunData& run : runs_) {
      const std::string name = run.directory.string();
      const int64_t end = run.train.back().last_step;
      shortest = std::min(shortest, run.config.log.every);
      longest = std::max(longest, run.config.log.every);
      if (end > last)
        out_.notes.push_back(
            {false,
             fmt::format("{} goes on to step {}; only what all runs share, up to step {}, is compared.", name,
                         end, last)});
      if (end < run.config.train.max_steps)
        out_.notes.push_back({false, fmt::format("{} is not finished: step {} of {}.", name, end,
                                                 run.config.train.max_steps)});
      if (run.torn_last_line)
        out_.notes.push_back(
            {false,
             fmt::format(
                 "The last line of {} is torn (a run that was killed or is writing) and was passed over.",
                 (run.directory / "metrics.jsonl").string())});
      const auto missing = std::count_if(run.train.begin(), run.train.end(),
                                         [](const TrainPoint& p) { return std::isnan(p.loss); });
      if (missing > 0)
        out_.notes.push_back(
            {true, fmt::format("{} has {} lines without a finite training loss; they are left out.", name,
                               missing)});
    }
    if (shortest != longest) {
      out_.notes.push_back({false, fmt::format("The runs log every {} to {} steps; they are compared over "
                                               "the {} stretches that their lines share.",
                                               shortest, longest, out_.grid.size())});
    }
  }

  void make_variants(const Options& options) {
    std::vector<Variant> variants = group_by_settings(runs_, out_.notes);
    const std::vector<std::string> labels = label_runs(runs_, variants);
    out_.smoothing_steps =
        smoothing_points() *
        static_cast<double>(out_.grid.back().last_step - out_.grid.front().first_step + 1) /
        static_cast<double>(out_.grid.size());
    for (size_t i = 0; i < runs_.size(); ++i) {
      RunResult run;
      run.loss = losses_on(runs_[i], out_.grid);
      run.validation = validation_on(runs_[i], out_.validation_steps);
      run.label = labels[i];
      run.used = !labels[i].empty();
      run.data = std::move(runs_[i]);
      out_.runs.push_back(std::move(run));
    }
    for (size_t i = 0; i < variants.size(); ++i) {
      const std::vector<size_t>& members = variants[i].runs;
      if (std::find(members.begin(), members.end(), baseline_run_) != members.end()) out_.baseline = i;
      out_.variants.push_back(average(variants[i]));
    }
    if (options.baseline && !out_.runs[baseline_run_].used) {
      throw core::UsageError("--baseline {} repeats the settings and seed of an earlier run; name that one.",
                             options.baseline->string());
    }
    out_.target_loss = out_.variants[out_.baseline].smoothed.back();
    for (VariantResult& variant : out_.variants) {
      variant.tokens_to_target = tokens_to_reach(variant.smoothed, out_.grid, out_.target_loss);
    }
  }

  // The smoothed curves look back over a 50th of the points, and over four where that is less.
  double smoothing_points() const {
    const double points = static_cast<double>(out_.grid.size());
    return std::max({1.0, points / 50.0, std::min(4.0, points / 10.0)});
  }

  VariantResult average(const Variant& variant) const {
    VariantResult result;
    result.variant = variant;
    std::vector<std::vector<double>> losses;
    std::vector<std::vector<double>> validations;
    for (const size_t run : variant.runs) {
      losses.push_back(out_.runs[run].loss);
      validations.push_back(out_.runs[run].validation);
    }
    result.loss = mean_over(losses);
    result.validation = mean_over(validations);
    result.smoothed = smooth(result.loss, smoothing_points());
    result.window_loss = mean_in(result.loss, out_.grid, out_.window.begin, out_.window.end);
    return result;
  }

  uint64_t seed(size_t run) const { return out_.runs[run].data.config.run.seed; }

  // Runs that share a seed; where none do, all against all is no pairing, so the first of each side.
  std::vector<std::pair<size_t, size_t>> pair_runs(const Variant& candidate, const Variant& baseline) const {
    std::vector<std::pair<size_t, size_t>> pairs;
    for (const size_t a : candidate.runs) {
      for (const size_t b : baseline.runs) {
        if (seed(a) == seed(b)) pairs.emplace_back(a, b);
      }
    }
    if (pairs.empty()) pairs.emplace_back(candidate.runs.front(), baseline.runs.front());
    return pairs;
  }

  bool in_window(int64_t step) const {
    return step >= out_.window.first_step && step <= out_.window.last_step;
  }

  double window_mean(const std::vector<double>& values) const {
    return mean_in(values, out_.grid, out_.window.begin, out_.window.end);
  }

  std::vector<double> validation_in_window(const std::vector<double>& values) const {
    std::vector<double> inside;
    for (size_t i = 0; i < values.size(); ++i) {
      if (in_window(out_.validation_steps[i]) && std::isfinite(values[i])) inside.push_back(values[i]);
    }
    return inside;
  }

  double validation_mean(const std::vector<double>& values) const {
    const std::vector<double> inside = validation_in_window(values);
    return std::accumulate(inside.begin(), inside.end(), 0.0) / static_cast<double>(inside.size());
  }

  CandidateResult compare_with_baseline(size_t variant) {
    const Variant& candidate = out_.variants[variant].variant;
    const Variant& baseline = out_.variants[out_.baseline].variant;
    CandidateResult result;
    result.variant = variant;
    result.pairs = pair_runs(candidate, baseline);
    for (const auto& [a, b] : result.pairs) {
      if (seed(a) != seed(b)) continue;
      result.seeds.push_back({seed(a), window_mean(subtract(out_.runs[a].loss, out_.runs[b].loss)),
                              validation_mean(subtract(out_.runs[a].validation, out_.runs[b].validation))});
    }
    // Only what is paired where seeds are shared, all runs where none are.
    Variant above = candidate;
    Variant below = baseline;
    if (!result.seeds.empty()) {
      above.runs.clear();
      below.runs.clear();
      for (const auto& [a, b] : result.pairs) {
        above.runs.push_back(a);
        below.runs.push_back(b);
      }
    }
    const VariantResult left = average(above);
    const VariantResult right = average(below);
    result.difference = subtract(left.loss, right.loss);
    result.smoothed_difference = smooth(result.difference, smoothing_points());
    result.validation_difference = subtract(left.validation, right.validation);
    estimate(candidate, baseline, result);
    describe_pairing(candidate, baseline, result);
    result.segments = cut_into_segments(left.loss, right.loss, result.difference);
    result.settings = setting_differences(out_.runs[result.pairs.front().second].data,
                                          out_.runs[result.pairs.front().first].data);
    result.attention_alone = attention_alone_differs(result.settings);
    return result;
  }

  void estimate(const Variant& candidate, const Variant& baseline, CandidateResult& result) const {
    const bool validated = !validation_in_window(result.validation_difference).empty();
    if (result.seeds.size() >= 2) {
      std::vector<double> training;
      std::vector<double> validation;
      for (const SeedDifference& one : result.seeds) {
        if (std::isfinite(one.training)) training.push_back(one.training);
        if (std::isfinite(one.validation)) validation.push_back(one.validation);
      }
      if (!training.empty()) result.training = paired_seeds(training);
      if (validated && !validation.empty()) result.validation = paired_seeds(validation);
    } else if (result.seeds.empty() && candidate.runs.size() >= 2 && baseline.runs.size() >= 2) {
      result.training = unpaired_seeds(window_means(candidate), window_means(baseline));
      if (validated)
        result.validation = unpaired_seeds(validation_means(candidate), validation_means(baseline));
    } else {
      const FinitePoints points = finite_in(result.difference, out_.grid, out_.window.begin, out_.window.end);
      result.training = batch_means(points.values, points.weights);
      if (validated) {
        const std::vector<double> values = validation_in_window(result.validation_difference);
        result.validation = batch_means(values, std::vector<double>(values.size(), 1.0));
      }
    }
    result.verdict = result.training.verdict();
    const Verdict other = result.validation ? result.validation->verdict() : Verdict::kNone;
    if (other != Verdict::kNone && other != result.verdict && result.verdict != Verdict::kNone)
      result.verdict = Verdict::kNone;
  }

  std::vector<double> window_means(const Variant& variant) const {
    std::vector<double> means;
    for (const size_t run : variant.runs) means.push_back(window_mean(out_.runs[run].loss));
    return means;
  }

  std::vector<double> validation_means(const Variant& variant) const {
    std::vector<double> means;
    for (const size_t run : variant.runs) means.push_back(validation_mean(out_.runs[run].validation));
    return means;
  }

  void describe_pairing(const Variant& candidate, const Variant& baseline, const CandidateResult& result) {
    if (result.seeds.empty()) {
      out_.notes.push_back({true, fmt::format("{} and {} share no seed: they start from other weights and "
                                              "read the text in another order, so "
                                              "pairing does not cancel the noise of both.",
                                              candidate.label, baseline.label)});
    } else if (result.seeds.size() < candidate.runs.size() || result.seeds.size() < baseline.runs.size()) {
      out_.notes.push_back(
          {false, fmt::format("Of {} and {}, only the seeds that both have ({}) are in the difference and in "
                              "the table of mean losses along the curve; the losses of a variant elsewhere "
                              "are means over all its runs.",
                              candidate.label, baseline.label, result.seeds.size())});
    }
    if (result.training.correlated) {
      out_.notes.push_back(
          {true, fmt::format("The difference between {} and {} drifts or is correlated through the window "
                             "(over about {:.0f} of {} points): its interval is too narrow.",
                             candidate.label, baseline.label, result.training.correlation_time,
                             result.training.values)});
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
  Comparison out_;
};

}  // namespace

Comparison compare(const Options& options) {
  return Builder().build(options);
}

}  // namespace ssgpt::report
