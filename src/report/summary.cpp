// The findings of a comparison in plain English.

#include "core/text.h"
#include "report/comparison.h"
#include "report/outcomes.h"

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

// "SSMax minus Softmax", and the outcome's name in a sentence.
struct Terms {
  std::string name;
  std::string baseline;
  std::string outcome;  // "training loss"
  std::string where;    // "over steps 1601 to 2000"; for tokens "to reach the same training loss, ..."
  bool ratio = false;   // the values are differences of logarithms, reported in per cent
  int decimals = 4;     // of losses, or of per cent

  std::string value(double difference) const {
    return ratio ? fmt::format("{:+.{}f} %", percent(difference), decimals)
                 : fmt::format("{:+.{}f}", difference, decimals);
  }
  std::string loss_size(double difference) const {
    return fmt::format("{:.{}f} nats per token", std::abs(difference), decimals);
  }
  std::string difference(const Estimate& estimate) const {
    return ratio ? fmt::format("the tokens that {} needs {}, differ by {} from those of {}", name, where,
                               value(estimate.mean), baseline)
                 : fmt::format("{} minus {} is {} nats per token {}", name, baseline, value(estimate.mean),
                               where);
  }
};

Terms terms_of(const Comparison& comparison, const CandidateResult& candidate, OutcomeKind kind) {
  Terms terms;
  terms.name = comparison.variants[candidate.variant].variant.label;
  terms.baseline = comparison.variants[comparison.baseline].variant.label;
  terms.outcome = kind == OutcomeKind::kValidation ? "validation loss" : "training loss";
  terms.where = fmt::format("over steps {} to {}", comparison.window.first_step, comparison.window.last_step);
  if (const Estimate* estimate = estimate_of(candidate, kind))
    terms.decimals = kind == OutcomeKind::kTokens ? percent_decimals(*estimate) : decimals(*estimate);
  if (kind == OutcomeKind::kWholeCurve) {
    terms.outcome = "training loss over the whole curve";
    terms.where = fmt::format("over all shared steps, {} to {}", comparison.grid.front().first_step,
                              comparison.grid.back().last_step);
  }
  if (kind == OutcomeKind::kTokens) {
    terms.outcome = "tokens to the same loss";
    terms.where =
        fmt::format("to reach the same training loss, on average over losses from {:.4f} down to {:.4f}",
                    candidate.token_losses.highest, candidate.token_losses.lowest);
    terms.ratio = true;
  }
  return terms;
}

std::string p_value(double p) {
  return p < 0.0001 ? "below 0.0001" : fmt::format("{:.4f}", p);
}

// "95 % interval -0.0270 to -0.0229, p 0.0003, 4 seeds, paired"
std::string evidence(const Terms& terms, const Estimate& estimate) {
  std::string text = fmt::format("95 % interval {} to {}, p {}", terms.value(estimate.low()),
                                 terms.value(estimate.high()), p_value(estimate.p));
  if (estimate.family > 1) {
    text += fmt::format(", corrected for {} candidates after Holm {}", estimate.family,
                        p_value(estimate.p_corrected));
  }
  return text +
         (estimate.method == Method::kSeedsPaired
              ? fmt::format(", {} seeds, paired", estimate.seeds)
              : fmt::format(", {} and {} runs, unpaired", estimate.candidate_runs, estimate.baseline_runs));
}

// Every seed has the same value on both sides.
bool is_equal(const Estimate& estimate) {
  return estimate.mean == 0.0 && estimate.scatter == 0.0;
}

std::string untested_line(const Terms& terms, const Estimate& estimate, bool paired) {
  if (!estimate.independent) {
    return fmt::format("No verdict on the {}: {}, from runs that are not independent.", terms.outcome,
                       terms.difference(estimate));
  }
  const std::string runs = paired ? estimate.seeds == 1 ? "one pair of runs" : "two pairs of runs"
                           : estimate.seeds == 1 ? "one run on one side"
                                                 : "two runs on one side";
  return fmt::format("No verdict on the {}: {}, from {}{}. A verdict needs {} seeds or more on each side.",
                     terms.outcome, terms.difference(estimate), runs,
                     estimate.failed ? ", counting only what did not fail, which hides the failure" : "",
                     kFewestSeeds);
}

std::string finding(const Terms& terms, const Estimate& estimate) {
  const bool lower = estimate.verdict() == Verdict::kLower;
  if (terms.ratio) {
    return fmt::format("{} needs {:.{}f} % {} tokens than {} {} ({}).", terms.name,
                       std::abs(percent(estimate.mean)), terms.decimals, lower ? "fewer" : "more",
                       terms.baseline, terms.where, evidence(terms, estimate));
  }
  return fmt::format("{} has a {} {} than {}: {} nats per token {} ({}).", terms.name,
                     to_string(estimate.verdict()), terms.outcome, terms.baseline, terms.value(estimate.mean),
                     terms.where, evidence(terms, estimate));
}

// "SSMax has a lower training loss than Softmax: -0.0123 nats per token over steps 1601 to 2000 (95 %
// interval ...)."
std::string verdict_line(const Terms& terms, const Estimate& estimate, bool paired) {
  if (std::isnan(estimate.mean) && estimate.missing == 0) {
    return fmt::format(
        "No verdict on the {}: there is no {} of {} and {} that reached the end of the comparison.",
        terms.outcome, paired ? "pair of runs" : "run of each", terms.name, terms.baseline);
  }
  if (std::isnan(estimate.mean)) {
    return fmt::format("No verdict on the {}: {} or {} has no finite loss {}.", terms.outcome, terms.name,
                       terms.baseline, terms.where);
  }
  if (is_equal(estimate)) {
    return fmt::format("No verdict on the {}: {} and {} {} {}.", terms.outcome, terms.name, terms.baseline,
                       terms.ratio ? "need equally many tokens" : "are equal", terms.where);
  }
  if (!estimate.tested()) return untested_line(terms, estimate, paired);
  const std::string start =
      fmt::format("No verdict on the {}: {}", terms.outcome, terms.difference(estimate));
  if (estimate.failed || estimate.missing > 0) {
    return fmt::format("{} ({}), counting only what did not fail, which hides the failure.", start,
                       evidence(terms, estimate));
  }
  if (estimate.may_be_rounding()) {
    return fmt::format("{}, which the rounding of fp32 losses alone could give ({}).", start,
                       evidence(terms, estimate));
  }
  if (estimate.lost_to_correction()) {
    return fmt::format(
        "{} ({}). Its interval by itself excludes zero, but of {} candidates one may do so by chance: the "
        "corrected p decides.",
        start, evidence(terms, estimate), estimate.family);
  }
  if (estimate.verdict() == Verdict::kNone)
    return fmt::format("{}, which chance alone could give ({}).", start, evidence(terms, estimate));
  return finding(terms, estimate);
}

std::string seeds_text(const std::optional<int64_t>& seeds) {
  return seeds ? fmt::format("{} seeds", *seeds) : fmt::format("more than {} seeds", kMostSeeds);
}

std::string at_level(const Estimate& estimate) {
  return estimate.family > 1 ? fmt::format(" at the level that {} candidates leave to one, {:.1f} %",
                                           estimate.family, 100.0 * estimate.level())
                             : std::string();
}

// What the seeds at hand could have shown, and how many would show the difference found; for a difference
// from one or two pairs, how far the noise of its curve alone moves it.
void add_power_lines(const Terms& terms, const Estimate& estimate, const CurveNoise& noise, bool paired,
                     std::vector<std::string>& lines) {
  if (is_equal(estimate)) return;
  if (estimate.tested()) {
    lines.push_back(fmt::format(
        "The smallest difference that these seeds could have shown is about {}: a true one of that size is "
        "found in 4 of 5 repetitions{}; to detect a difference as large as the one observed ({}), {}.",
        terms.loss_size(estimate.smallest_detectable), at_level(estimate), terms.loss_size(estimate.mean),
        estimate.seeds_needed ? fmt::format("{} seeds are enough", *estimate.seeds_needed)
                              : fmt::format("more than {} seeds are needed", kMostSeeds)));
    return;
  }
  if (!estimate.independent) return;
  if (noise.known) {
    lines.push_back(fmt::format(
        "The noise along the curve of {} is {:.4f} nats (standard error of {} batch means{}). It is not the "
        "error of the difference: it does not include the scatter between seeds, which is often several "
        "times as large.",
        paired && estimate.seeds == 1 ? "this one pair" : "this difference", noise.standard_error,
        noise.batches, noise.correlated ? ", too small, for the difference drifts through the window" : ""));
  } else {
    lines.push_back(
        fmt::format("{} in the window {} too few to estimate the noise along the curve ({} are needed).",
                    core::counted(noise.points, "point"), noise.points == 1 ? "is" : "are", kFewestPoints));
  }
  if (estimate.seeds >= 2) {
    lines.push_back(fmt::format(
        "As a rough guess from two seeds, whose {} by a standard deviation of {:.4f}, a difference of "
        "this size would be found in 4 of 5 repetitions by {}{}.",
        paired ? "differences scatter" : "losses scatter", estimate.scatter,
        seeds_text(estimate.seeds_needed), at_level(estimate)));
    return;
  }
  if (!paired) {
    lines.push_back(
        fmt::format("How far runs scatter is not known from one per side: at least {} on each are needed.",
                    kFewestSeeds));
    return;
  }
  const auto scatter = [&](int64_t seeds) {
    return largest_scatter(estimate.mean, seeds, estimate.level());
  };
  lines.push_back(fmt::format(
      "How far seeds scatter is not known from one: at least {} are needed. {} seeds would show a "
      "difference of this size in 4 of 5 repetitions{} where the differences between seeds have a "
      "standard deviation of up to {:.4f}, 5 where up to {:.4f}, 10 where up to {:.4f}.",
      kFewestSeeds, kFewestSeeds, at_level(estimate), scatter(kFewestSeeds), scatter(5), scatter(10)));
}

// "the training loss is not finite at 3 of the 80 points of the window"
std::string nonfinite_text(const Comparison& comparison, const RunResult& run) {
  const NonfiniteLosses losses = nonfinite_losses(comparison, run);
  if (losses.training > 0) {
    return fmt::format("the training loss is not finite at {} of the {} points of the window",
                       losses.training, comparison.window.end - comparison.window.begin);
  }
  return fmt::format("the validation loss is not finite {} in the window",
                     core::counted(losses.validation, "time"));
}

std::string tokens_line(const Comparison& comparison, const CandidateResult& candidate) {
  const VariantResult& one = comparison.variants[candidate.variant];
  const VariantResult& base = comparison.variants[comparison.baseline];
  const std::string& name = one.variant.label;
  if (!base.tokens_to_target) return "";
  if (!one.tokens_to_target) {
    return fmt::format(
        "{} does not reach {}'s final smoothed training loss ({:.4f}) within the steps compared.", name,
        base.variant.label, comparison.target_loss);
  }
  const std::string counts =
      fmt::format("{} reaches {}'s final smoothed training loss ({:.4f}) after {} tokens, {} after {}", name,
                  base.variant.label, comparison.target_loss, core::human_count(*one.tokens_to_target),
                  base.variant.label, core::human_count(*base.tokens_to_target));
  if (!candidate.training.tested()) return fmt::format("{} (by the mean curves, without a test).", counts);
  const double change = 100.0 * (*one.tokens_to_target / *base.tokens_to_target - 1.0);
  if (std::abs(change) < 0.05) return fmt::format("{} (by the mean curves, without a test).", counts);
  return fmt::format("{}: {:.1f} % {} (by the mean curves, without a test).", counts, std::abs(change),
                     change <= 0.0 ? "fewer" : "more");
}

void add_last_validation(const Comparison& comparison, const CandidateResult& candidate,
                         std::vector<std::string>& lines) {
  if (comparison.validation_steps.empty() || !std::isfinite(candidate.validation_difference.back())) return;
  lines.push_back(
      fmt::format("At the last shared validation, step {}, the validation loss differs by {:+.4f}.",
                  comparison.validation_steps.back(), candidate.validation_difference.back()));
}

// "Left out are runs that have not come to step 300: SSMax, seed 4 (step 120 of 300, being trained)."; empty
// if there are none.
std::string left_out_statement(const Comparison& comparison, const CandidateResult& candidate) {
  std::string runs;
  for (const size_t side : {comparison.baseline, candidate.variant}) {
    for (const size_t i : comparison.variants[side].variant.runs) {
      const RunResult& run = comparison.runs[i];
      if (run.ending.compared) continue;
      runs +=
          fmt::format("{}{}, seed {} (step {} of {}, {})", runs.empty() ? "" : "; ",
                      comparison.variants[side].variant.label, run.data.config.run.seed, run.data.last_step(),
                      run.data.config.train.max_steps, run.ending.stopped ? "stopped" : "being trained");
    }
  }
  if (runs.empty()) return "";
  return fmt::format("Left out are runs that have not reached step {}: {}.", comparison.grid.back().last_step,
                     runs);
}

}  // namespace

std::string failure_statement(const Comparison& comparison, const CandidateResult& candidate) {
  std::string text;
  for (const size_t side : {candidate.variant, comparison.baseline}) {
    const VariantResult& variant = comparison.variants[side];
    const std::string& label = variant.variant.label;
    const size_t runs = variant.variant.runs.size();
    const auto add = [&](std::string_view what, const std::vector<size_t>& failed, const auto& detail) {
      if (failed.empty()) return;
      text += fmt::format("{}{} {}", text.empty() ? "" : "; ", label, what);
      if (runs == 1 && what == "stopped") {
        text += fmt::format(" {}", detail(comparison.runs[failed.front()]));
        return;
      }
      if (runs > 1) text += fmt::format(" in {} of {} seeds", failed.size(), runs);
      std::string details;
      for (const size_t i : failed) {
        const RunResult& run = comparison.runs[i];
        details +=
            fmt::format("{}seed {}: {}", details.empty() ? "" : "; ", run.data.config.run.seed, detail(run));
      }
      text += fmt::format(" ({})", details);
    };
    add("diverged", variant.diverged, [&](const RunResult& run) { return nonfinite_text(comparison, run); });
    add("stopped", variant.stopped, [](const RunResult& run) {
      return fmt::format("at step {} of {}", run.data.last_step(), run.data.config.train.max_steps);
    });
  }
  return text;
}

std::vector<std::string> summarize(const Comparison& comparison, const CandidateResult& candidate) {
  std::vector<std::string> lines;
  if (candidate.failed)
    lines.push_back(fmt::format("No verdict: {}.", failure_statement(comparison, candidate)));
  if (const std::string text = left_out_statement(comparison, candidate); !text.empty())
    lines.push_back(text);
  if (!comparison.short_comparison.empty()) lines.push_back(comparison.short_comparison);
  const bool paired = candidate.paired;
  const bool opposed = candidate.verdict == Verdict::kNone && candidate.training.verdict() != Verdict::kNone;
  if (opposed) lines.push_back("No verdict: training and validation loss point in opposite directions.");
  for (const OutcomeKind kind : kOutcomes) {
    const Estimate* estimate = estimate_of(candidate, kind);
    const bool measured = estimate != nullptr && !std::isnan(estimate->mean);
    if (!measured && kind != OutcomeKind::kTraining) continue;
    const Terms terms = terms_of(comparison, candidate, kind);
    if (kind == OutcomeKind::kTraining && opposed) {
      lines.push_back(fmt::format("The training loss by itself would be {}: {} ({}).",
                                  to_string(estimate->verdict()), terms.difference(*estimate),
                                  evidence(terms, *estimate)));
    } else if (kind == OutcomeKind::kTraining || estimate->tested() || is_equal(*estimate)) {
      lines.push_back(verdict_line(terms, *estimate, paired));
    } else {
      lines.push_back(
          fmt::format("No verdict on the {} either: {}.", terms.outcome, terms.difference(*estimate)));
    }
    if (kind == OutcomeKind::kTraining && !candidate.origin.note.empty() &&
        (estimate->tested() || !candidate.origin.independent))
      lines.push_back(candidate.origin.note);
    if (kind == OutcomeKind::kTraining && !candidate.failed && measured)
      add_power_lines(terms, *estimate, candidate.training_noise, paired, lines);
    if (kind == OutcomeKind::kValidation || (kind == OutcomeKind::kTraining && !candidate.validation))
      add_last_validation(comparison, candidate, lines);
  }
  const bool told = !candidate.failed && !candidate.runs.empty() && !is_equal(candidate.whole_curve);
  if (const std::string line = tokens_line(comparison, candidate); told && !line.empty())
    lines.push_back(line);
  if (candidate.training.tested()) {
    lines.push_back(
        "The training loss over the window decides. The others are further outcomes, each with a test of "
        "its own at 5 %: of several, one may differ by chance.");
  }
  return lines;
}

}  // namespace ssgpt::report
