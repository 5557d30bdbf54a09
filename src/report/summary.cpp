// What a comparison says in plain English.

#include "core/text.h"
#include "report/comparison.h"

#include <cmath>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

std::string interval(const Estimate& estimate) {
  return fmt::format("95 % interval {:+.4f} to {:+.4f}", estimate.low(), estimate.high());
}

std::string basis(const Estimate& estimate) {
  switch (estimate.method) {
    case Method::kBatchMeans:
      return fmt::format("{} batch means", estimate.batches);
    case Method::kSeedsPaired:
      return fmt::format("{} seeds, paired", estimate.values);
    case Method::kSeedsUnpaired:
      return fmt::format("{} seeds a side, unpaired", estimate.values);
    case Method::kNone:
      return "";
  }
  return "";
}

// "SSMax has a lower training loss than Softmax: -0.0123 nats a token over steps 1601 to 2000 (95 % interval
// ...)."
std::string verdict_line(const Comparison& comparison, const CandidateResult& candidate,
                         const Estimate& estimate, const std::string& loss) {
  const std::string& name = comparison.variants[candidate.variant].variant.label;
  const std::string& baseline = comparison.variants[comparison.baseline].variant.label;
  const std::string where =
      fmt::format("over steps {} to {}", comparison.window.first_step, comparison.window.last_step);
  if (std::isnan(estimate.mean)) {
    return fmt::format("No verdict on the {} loss: {} or {} has no finite loss {}.", loss, name, baseline,
                       where);
  }
  if (estimate.method == Method::kNone && estimate.of_seeds) {
    return fmt::format(
        "No verdict on the {} loss: {} minus {} is {:+.4f} nats a token {}, from one seed with a finite "
        "loss; "
        "a second seed is missing for an error between seeds.",
        loss, name, baseline, estimate.mean, where);
  }
  if (estimate.method == Method::kNone) {
    return fmt::format(
        "No verdict on the {} loss: {} minus {} is {:+.4f} nats a token {}, but {} point{} there {} too few "
        "for an error "
        "({} are needed).",
        loss, name, baseline, estimate.mean, where, estimate.values, estimate.values == 1 ? "" : "s",
        estimate.values == 1 ? "is" : "are", kFewestPoints);
  }
  if (estimate.diverged) {
    return fmt::format(
        "No verdict on the {} loss: over what is finite, {} minus {} is {:+.4f} nats a token {} ({}, {}), "
        "which "
        "leaves out where a run diverged.",
        loss, name, baseline, estimate.mean, where, interval(estimate), basis(estimate));
  }
  if (estimate.correlated) {
    return fmt::format(
        "No verdict on the {} loss: {} minus {} is {:+.4f} nats a token {}, but it drifts or is correlated "
        "over about {:.0f} of the {} points there, too many for an error ({} is too narrow). A longer "
        "--window or more seeds help.",
        loss, name, baseline, estimate.mean, where, estimate.correlation_time, estimate.values,
        interval(estimate));
  }
  if (estimate.verdict() == Verdict::kNone) {
    return fmt::format(
        "No verdict on the {} loss: {} minus {} is {:+.4f} nats a token {}, which chance alone could give "
        "({}, {}).",
        loss, name, baseline, estimate.mean, where, interval(estimate), basis(estimate));
  }
  return fmt::format("{} has a {} {} loss than {}: {:+.4f} nats a token {} ({}, {}).", name,
                     to_string(estimate.verdict()), loss, baseline, estimate.mean, where, interval(estimate),
                     basis(estimate));
}

// "the training loss is not finite at 3 of the 80 points of the window"
std::string nonfinite_text(const Comparison& comparison, const RunResult& run) {
  const NonfiniteLosses losses = nonfinite_losses(comparison, run);
  if (losses.training > 0) {
    return fmt::format("the training loss is not finite at {} of the {} points of the window",
                       losses.training, comparison.window.end - comparison.window.begin);
  }
  return fmt::format("the validation loss is not finite {} time{} in the window", losses.validation,
                     losses.validation == 1 ? "" : "s");
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
  const double change = 100.0 * (*one.tokens_to_target / *base.tokens_to_target - 1.0);
  return fmt::format(
      "{} reaches {}'s final smoothed training loss ({:.4f}) after {} tokens, {} after {}: {:.1f} % {}.",
      name, base.variant.label, comparison.target_loss, core::human_count(*one.tokens_to_target),
      base.variant.label, core::human_count(*base.tokens_to_target), std::abs(change),
      change <= 0.0 ? "fewer" : "more");
}

}  // namespace

std::string divergence_statement(const Comparison& comparison, const CandidateResult& candidate) {
  std::string text;
  for (const size_t side : {candidate.variant, comparison.baseline}) {
    const VariantResult& variant = comparison.variants[side];
    if (variant.diverged.empty()) continue;
    const size_t runs = variant.variant.runs.size();
    text += fmt::format("{}{} diverged", text.empty() ? "" : "; ", variant.variant.label);
    if (runs > 1) text += fmt::format(" in {} of {} seeds", variant.diverged.size(), runs);
    std::string details;
    for (const size_t i : variant.diverged) {
      const RunResult& run = comparison.runs[i];
      details += fmt::format("{}seed {}: {}", details.empty() ? "" : "; ", run.data.config.run.seed,
                             nonfinite_text(comparison, run));
    }
    text += fmt::format(" ({})", details);
  }
  return text;
}

std::vector<std::string> summarize(const Comparison& comparison, const CandidateResult& candidate) {
  std::vector<std::string> lines;
  if (candidate.diverged)
    lines.push_back(fmt::format("No verdict: {}.", divergence_statement(comparison, candidate)));
  if (candidate.verdict == Verdict::kNone && candidate.training.verdict() != Verdict::kNone) {
    lines.push_back("No verdict: training and validation loss point in opposite directions.");
  }
  lines.push_back(verdict_line(comparison, candidate, candidate.training, "training"));
  if (candidate.training.method != Method::kNone && !candidate.training.correlated && !candidate.diverged) {
    lines.push_back(
        fmt::format("The smallest difference that this experiment could have shown is about {:.4f} nats (a "
                    "true difference of "
                    "that size is found in 4 of 5 repetitions).",
                    candidate.training.smallest_detectable));
  }
  if (candidate.validation)
    lines.push_back(verdict_line(comparison, candidate, *candidate.validation, "validation"));
  if (!comparison.validation_steps.empty() && std::isfinite(candidate.validation_difference.back())) {
    lines.push_back(
        fmt::format("At the last shared validation, step {}, the validation loss differs by {:+.4f}.",
                    comparison.validation_steps.back(), candidate.validation_difference.back()));
  }
  if (const std::string line = tokens_line(comparison, candidate); !line.empty() && !candidate.diverged)
    lines.push_back(line);
  if (candidate.training.method == Method::kBatchMeans) {
    lines.push_back(
        "One pair of runs: the variance between seeds is not in this error, so another seed may give another "
        "difference. "
        "Train each side with more seeds to learn how much.");
  }
  return lines;
}

}  // namespace ssgpt::report
