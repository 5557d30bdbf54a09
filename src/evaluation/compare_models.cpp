#include "evaluation/compare_models.h"

#include "core/error.h"
#include "core/file.h"
#include "data/token_source.h"
#include "evaluation/position.h"
#include "evaluation/retrieval.h"
#include "evaluation/subjects.h"
#include "start/data_sources.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::evaluation {
namespace {

using report::EvaluatedCondition;
using report::EvaluatedModel;
using report::Evaluation;

// Of the points of an evaluation.
struct Measured {
  std::vector<report::PointValue> loss;
  std::vector<report::PointValue> accuracy;
};
using Measure = std::function<Measured(model::GPT& model)>;

// Of the baseline, whose training the default lengths are multiples of.
int64_t trained_length(const Subjects& subjects) {
  const auto baseline = std::find_if(subjects.all.begin(), subjects.all.end(), [&](const Subject& subject) {
    return subject.variant == subjects.baseline;
  });
  return baseline->summary.spec.sequence_length;
}

report::ModelChanges changes_of(const Overrides& overrides) {
  report::ModelChanges changes{.rope_theta = overrides.rope_theta,
                               .yarn_factor = overrides.yarn_factor,
                               .row_scale = overrides.row_scale,
                               .attention = std::nullopt,
                               .extend_pn = overrides.extend_pn};
  if (overrides.attention) changes.attention = std::string(config::to_string(*overrides.attention));
  return changes;
}

EvaluatedModel describe(const Subject& subject, const Task& task, const LoadedModel& loaded) {
  EvaluatedModel model;
  model.variant = task.variant;
  model.seed = subject.seed;
  model.checkpoint = subject.checkpoint;
  if (loaded.trainer) model.step = loaded.trainer->step;
  model.attention = config::to_string(loaded.model->spec().config.attention.kind);
  model.trained_length = loaded.trained_length;
  model.rope_theta = loaded.rope_theta;
  model.changes = changes_of(task.overrides);
  if (const auto& fit = loaded.pn_fit) {
    model.fitted = report::FittedPositions{.a1 = fit->a1,
                                           .a2 = fit->a2,
                                           .rms_residual = fit->rms_residual,
                                           .max_residual = fit->max_residual,
                                           .entries = fit->entries};
  }
  return model;
}

// Notes of what limits a comparison of these models.
void add_notes(const Subjects& subjects, Evaluation& evaluation) {
  for (const std::string& text : subjects.left_out) evaluation.notes.push_back({/*warning=*/true, text});
  const auto step = [](const Subject& subject) {
    return subject.summary.trainer ? std::optional(subject.summary.trainer->step) : std::nullopt;
  };
  const Subject& first = subjects.all.front();
  for (const Subject& other : subjects.all) {
    if (step(other) == step(first) || !step(other) || !step(first)) continue;
    evaluation.notes.push_back(
        {/*warning=*/true,
         fmt::format(
             "The models have been trained for different numbers of steps ({}: {}, {}: {}): longer training "
             "alone changes what is measured.",
             first.checkpoint.string(), *step(first), other.checkpoint.string(), *step(other))});
    break;
  }
  for (const Subject& other : subjects.all) {
    const int64_t length = other.summary.spec.sequence_length;
    if (length == first.summary.spec.sequence_length) continue;
    evaluation.notes.push_back(
        {/*warning=*/true,
         fmt::format("The models were trained on windows of different lengths ({}: {}, {}: {} tokens).",
                     first.checkpoint.string(), first.summary.spec.sequence_length, other.checkpoint.string(),
                     length)});
    break;
  }
}

// Whether each change has one value at most and there is one model: then the last of the models that are
// measured is the one asked for.
bool is_single(const Subjects& subjects, const ChangeLists& changes) {
  return subjects.all.size() == 1 && changes.rope_thetas.size() <= 1 &&
         changes.row_scales.size() + changes.swaps.size() <= 1;
}

// Loads each model of each condition for windows of `length` tokens, measures it, and judges.
void measure_all(const Subjects& subjects, const ModelOptions& options,
                 const std::vector<Condition>& conditions, int64_t length, const Measure& measure,
                 const Progress& progress, Evaluation& evaluation) {
  size_t count = 0;
  for (const Condition& condition : conditions) count += condition.tasks.size();
  size_t number = 0;
  for (const Condition& condition : conditions) {
    EvaluatedCondition& result = evaluation.conditions.emplace_back();
    result.rope_theta = condition.rope_theta;
    result.baseline = subjects.baseline;
    for (const Task& task : condition.tasks) {
      const Subject& subject = subjects.all[task.subject];
      if (progress.model)
        progress.model(fmt::format("{}, seed {}", task.variant, subject.seed), number, count);
      ++number;
      const LoadedModel loaded = load_model(
          subject.checkpoint,
          {.sequence_length = length, .overrides = task.overrides, .placement = options.placement});
      EvaluatedModel& model = result.models.emplace_back(describe(subject, task, loaded));
      Measured measured = measure(*loaded.model);
      model.loss = std::move(measured.loss);
      model.accuracy = std::move(measured.accuracy);
    }
    report::judge(evaluation.kind, result);
  }
  evaluation.single = is_single(subjects, options.changes);
  evaluation.trials = static_cast<int64_t>(evaluation.conditions[0].models[0].loss[0].trials.size());
}

int64_t end_of_documents(const Subject& subject) {
  if (const auto& trainer = subject.summary.trainer) {
    const config::Config config =
        config::parse(trainer->config, (subject.checkpoint / "trainer/state.json").string());
    if (config.data.document_token_id) return *config.data.document_token_id;
  }
  std::optional<tokenizer::Tokenizer> tokenizer;
  if (subject.summary.tokenizer) tokenizer.emplace(*subject.summary.tokenizer);
  const std::optional<int64_t> end =
      start::end_of_document(subject.summary.spec.document_token_id, tokenizer ? &*tokenizer : nullptr);
  if (!end) {
    throw core::UsageError(
        "--documents: {} does not say which token ends a document: it has neither a tokenizer nor a "
        "data.document_token_id.",
        subject.checkpoint.string());
  }
  return *end;
}

void check_lengths(const std::vector<int64_t>& lengths) {
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 1) throw core::UsageError("--lengths: {} is not a length.", lengths[i]);
    if (i > 0 && lengths[i] <= lengths[i - 1]) {
      throw core::UsageError("--lengths: {} stands behind {}; name each length once, in rising order.",
                             lengths[i], lengths[i - 1]);
    }
  }
}

// Logits that are not finite answer nothing: their accuracy is no value, and not 0.
void withdraw_without_loss(RetrievalValues& values) {
  for (size_t i = 0; i < values.loss.size(); ++i) {
    if (!std::isfinite(values.loss[i].mean))
      values.accuracy[i].mean = std::numeric_limits<double>::quiet_NaN();
  }
}

}  // namespace

Evaluation compare_by_position(const PositionOptions& options, const Progress& progress) {
  const Subjects subjects = find_subjects(options.models.paths, options.models.baseline);
  const std::vector<Condition> conditions = make_conditions(subjects, options.models.changes);
  Evaluation evaluation;
  evaluation.kind = report::EvaluationKind::kPosition;
  evaluation.trained_length = trained_length(subjects);
  if (const auto unknown = check_same_vocabulary(subjects, /*same_tokenizer=*/true))
    evaluation.notes.push_back({/*warning=*/true, *unknown});
  add_notes(subjects, evaluation);
  evaluation.data = options.data;
  evaluation.documents = options.documents;

  const int64_t length = options.max_length.value_or(4 * evaluation.trained_length);
  PositionRequest request;
  request.bin_ends = options.bin ? equal_bin_ends(*options.bin, length)
                                 : default_bin_ends(evaluation.trained_length, length);
  request.max_windows = options.max_windows;
  request.batch_size = options.batch_size;
  if (options.documents) request.document_token_id = end_of_documents(subjects.all.front());
  request.on_progress = progress.batch;
  evaluation.points = points_of_bins(request.bin_ends);
  const data::TokenSource source(core::expand_globs(options.data));
  measure_all(
      subjects, options.models, conditions, length,
      [&](model::GPT& model) {
        return Measured{.loss = losses_by_position(model, source, request), .accuracy = {}};
      },
      progress, evaluation);
  return evaluation;
}

Evaluation compare_by_retrieval(const RetrievalOptions& options, const Progress& progress) {
  const Subjects subjects = find_subjects(options.models.paths, options.models.baseline);
  const std::vector<Condition> conditions = make_conditions(subjects, options.models.changes);
  check_same_vocabulary(subjects, /*same_tokenizer=*/false);
  Evaluation evaluation;
  evaluation.kind = report::EvaluationKind::kRetrieval;
  evaluation.trained_length = trained_length(subjects);
  add_notes(subjects, evaluation);
  const data::SyntheticTaskRow& task = data::row_of(options.task);
  evaluation.task = task.name;
  evaluation.task_description = task.description;
  evaluation.seed = options.seed;

  RetrievalRequest request{.task = options.task,
                           .lengths = options.lengths,
                           .trials = options.trials,
                           .seed = options.seed,
                           .batch_size = options.batch_size,
                           .on_progress = progress.batch};
  for (int64_t times = 1; options.lengths.empty() && times <= 16; times *= 2)
    request.lengths.push_back(times * evaluation.trained_length);
  check_lengths(request.lengths);
  const int64_t vocab_size = subjects.all.front().summary.spec.config.vocab_size;
  for (const int64_t length : request.lengths) {
    data::check_synthetic(options.task, vocab_size, length);
    evaluation.points.push_back({.first = length, .last = length});
  }
  measure_all(
      subjects, options.models, conditions, request.lengths.back(),
      [&](model::GPT& model) {
        RetrievalValues values = retrieve(model, request);
        withdraw_without_loss(values);
        return Measured{.loss = std::move(values.loss), .accuracy = std::move(values.accuracy)};
      },
      progress, evaluation);
  return evaluation;
}

}  // namespace ssgpt::evaluation
