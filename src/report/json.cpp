#include "core/json.h"

#include "report/estimate_json.h"
#include "report/outcomes.h"
#include "report/output.h"

#include <string>

#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using Json = nlohmann::ordered_json;

Json optional(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// For an outcome whose values are logarithms, also in per cent.
Json percent_json(const Estimate& estimate) {
  Json object = {{"mean", percent(estimate.mean)}};
  const bool tested = estimate.tested();
  object["low"] = tested ? Json(percent(estimate.low())) : Json(nullptr);
  object["high"] = tested ? Json(percent(estimate.high())) : Json(nullptr);
  object["smallest_detectable"] = tested ? Json(-percent(-estimate.smallest_detectable)) : Json(nullptr);
  return object;
}

Json noise_json(const CurveNoise& noise) {
  Json object = {{"standard_error", noise.known ? Json(noise.standard_error) : Json(nullptr)},
                 {"points", noise.points}};
  if (noise.known) {
    object["batches"] = noise.batches;
    object["correlation_points"] = noise.correlation_time;
    object["window_too_short"] = noise.correlated;
  }
  return object;
}

Json estimate_json(OutcomeKind kind, const Estimate& estimate, bool paired) {
  Json object = {{"outcome", title(kind)}};
  object.update(estimate_fields(estimate, paired));
  object["candidates_corrected_for"] = estimate.family;
  if (kind == OutcomeKind::kTokens) object["percent"] = percent_json(estimate);
  return object;
}

Json run_json(const RunResult& run, const std::string& variant) {
  const config::Config& config = run.data.config;
  Json object = {{"label", run.label},
                 {"variant", variant},
                 {"directory", run.data.directory.string()},
                 {"name", config.run.name},
                 {"seed", config.run.seed},
                 {"used", run.used},
                 {"compared", run.ending.compared},
                 {"being_trained", run.data.being_trained},
                 {"attention", config::to_string(config.model.attention.kind)},
                 {"last_step", run.data.last_step()},
                 {"max_steps", config.train.max_steps},
                 {"log_every", config.log.every}};
  object["swaps"] = Json::array();
  for (const config::SwapAttention& swap : config.train.swap_attention)
    object["swaps"].push_back({{"at_step", swap.at_step}, {"kind", config::to_string(swap.kind)}});
  object["parent"] = run.data.parent.empty() ? Json(nullptr) : Json(run.data.parent);
  object["final_loss"] = run.loss.back();
  object["final_validation_loss"] = run.validation.empty() ? Json(nullptr) : Json(run.validation.back());
  object["run"] = core::parse_json<Json>(run.data.info);
  object["config"] = config::dump(config);
  return object;
}

Json variant_json(const Comparison& comparison, const VariantResult& variant) {
  Json object = {{"label", variant.variant.label}};
  object["runs"] = Json::array();
  object["seeds"] = Json::array();
  for (const size_t run : variant.variant.runs) {
    object["runs"].push_back(comparison.runs[run].label);
    object["seeds"].push_back(comparison.runs[run].data.config.run.seed);
  }
  object["averaged_runs"] = Json::array();  // the runs that the means below are over
  for (const size_t run : variant.averaged) object["averaged_runs"].push_back(comparison.runs[run].label);
  object["diverged_seeds"] = Json::array();
  for (const size_t run : variant.diverged)
    object["diverged_seeds"].push_back(comparison.runs[run].data.config.run.seed);
  object["stopped_seeds"] = Json::array();
  for (const size_t run : variant.stopped)
    object["stopped_seeds"].push_back(comparison.runs[run].data.config.run.seed);
  object["window_loss"] = variant.window_loss;
  object["final_loss"] = variant.loss.back();
  object["final_smoothed_loss"] = variant.smoothed.back();
  object["final_validation_loss"] =
      variant.validation.empty() ? Json(nullptr) : Json(variant.validation.back());
  object["tokens_to_baseline_final_loss"] = optional(variant.tokens_to_target);
  return object;
}

Json candidate_json(const Comparison& comparison, const CandidateResult& candidate) {
  Json object = {
      {"candidate", comparison.variants[candidate.variant].variant.label},
      {"baseline", comparison.variants[comparison.baseline].variant.label},
      {"verdict", to_string(candidate.verdict)},
      {"failed", candidate.failed ? Json(failure_statement(comparison, candidate)) : Json(nullptr)},
      {"paired", candidate.paired},
      {"independent", candidate.origin.independent},
      {"origin", candidate.origin.note.empty() ? Json(nullptr) : Json(candidate.origin.note)},
      {"summary", candidate.summary},
      {"attention_alone_differs", candidate.attention_alone}};
  for (const OutcomeKind kind : kOutcomes) {
    const Estimate* estimate = estimate_of(candidate, kind);
    object[std::string(key(kind))] =
        estimate ? estimate_json(kind, *estimate, candidate.paired) : Json(nullptr);
  }
  object["training"]["curve_noise"] = noise_json(candidate.training_noise);
  if (candidate.validation) object["validation"]["curve_noise"] = noise_json(candidate.validation_noise);
  object["token_losses"] = {{"highest", candidate.token_losses.highest},
                            {"lowest", candidate.token_losses.lowest}};
  object["seeds"] = Json::array();
  for (const SeedDifference& one : candidate.seeds) {
    Json& seed = object["seeds"].emplace_back(Json{{"seed", one.seed}});
    for (const OutcomeKind kind : kOutcomes) seed[std::string(key(kind))] = value_of(one, kind);
  }
  object["validation_difference"] = candidate.validation_difference;
  object["segments"] = Json::array();
  for (const Segment& one : candidate.segments) {
    object["segments"].push_back({{"first_step", one.first_step},
                                  {"last_step", one.last_step},
                                  {"baseline", one.baseline},
                                  {"candidate", one.candidate},
                                  {"difference", one.difference}});
  }
  object["settings"] = Json::array();
  for (const SettingDifference& one : candidate.settings) {
    object["settings"].push_back({{"key", one.key},
                                  {"baseline", one.baseline},
                                  {"candidate", one.candidate},
                                  {"material", one.material}});
  }
  return object;
}

// The baseline's settings that a reader asks for first. With examples, only the positions before an answer's
// tokens predict one.
Json settings_json(const config::Config& config) {
  const bool of_examples = config.data.format == config::DataFormat::kSft;
  return {{"hidden_size", config.model.hidden_size},
          {"num_hidden_layers", config.model.num_hidden_layers},
          {"num_attention_heads", config.model.num_attention_heads},
          {"intermediate_size", config.model.intermediate_size},
          {"vocab_size", config.model.vocab_size},
          {"sequence_length", config.data.sequence_length},
          {"global_batch_size", config.train.global_batch_size},
          {of_examples ? "positions_per_step" : "tokens_per_step",
           config.train.global_batch_size * config.data.sequence_length},
          {"max_steps", config.train.max_steps},
          {"lr", config.optimizer.lr},
          {"warmup_steps", config.optimizer.schedule.warmup_steps},
          {"weight_decay", config.optimizer.weight_decay},
          {"clip_grad_norm", config.train.clip_grad_norm}};
}

std::string variant_of(const Comparison& comparison, size_t run) {
  for (const VariantResult& variant : comparison.variants) {
    for (const size_t member : variant.variant.runs) {
      if (member == run) return variant.variant.label;
    }
  }
  return "";
}

}  // namespace

std::string to_json(const Comparison& comparison) {
  const VariantResult& baseline = comparison.variants[comparison.baseline];
  Json object = {{"format", "ssgpt-comparison"},
                 {"version", 2},
                 {"unit", "nats per token"},
                 {"deciding_outcome", key(kOutcomes.front())},
                 {"baseline", baseline.variant.label}};
  object["outcomes"] = Json::array();
  for (const OutcomeKind kind : kOutcomes) {
    const bool tokens = kind == OutcomeKind::kTokens;
    object["outcomes"].push_back(
        {{"name", key(kind)}, {"title", title(kind)}, {"unit", tokens ? "log ratio" : "nats per token"}});
  }
  object["comparisons"] = Json::array();
  for (const CandidateResult& one : comparison.candidates)
    object["comparisons"].push_back(candidate_json(comparison, one));
  object["window"] = {{"first_step", comparison.window.first_step},
                      {"last_step", comparison.window.last_step},
                      {"points", comparison.window.end - comparison.window.begin}};
  object["shared"] = {{"first_step", comparison.grid.front().first_step},
                      {"last_step", comparison.grid.back().last_step},
                      {"points", comparison.grid.size()},
                      {"tokens", comparison.grid.back().tokens}};
  object["smoothing_steps"] = comparison.smoothing_steps;
  object["target_loss"] = comparison.target_loss;
  object["variants"] = Json::array();
  for (const VariantResult& variant : comparison.variants)
    object["variants"].push_back(variant_json(comparison, variant));
  object["validation"] = {{"steps", comparison.validation_steps}, {"losses", Json::object()}};
  object["runs"] = Json::array();
  for (size_t i = 0; i < comparison.runs.size(); ++i) {
    const RunResult& run = comparison.runs[i];
    object["runs"].push_back(run_json(run, variant_of(comparison, i)));
    if (run.used) object["validation"]["losses"][run.label] = run.validation;
  }
  object["settings"] = settings_json(comparison.runs[baseline.variant.runs.front()].data.config);
  object["notes"] = Json::array();
  for (const Note& note : comparison.notes)
    object["notes"].push_back({{"warning", note.warning}, {"text", note.text}});
  // A path that is not UTF-8 must not break the report.
  return core::json_text(object, 2) + "\n";
}

}  // namespace ssgpt::report
