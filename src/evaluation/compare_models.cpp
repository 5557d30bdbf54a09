#include "evaluation/compare_models.h"

#include "core/error.h"
#include "core/file.h"
#include "data/token_source.h"
#include "evaluation/applied_changes.h"
#include "evaluation/attention.h"
#include "evaluation/notes.h"
#include "evaluation/position.h"
#include "evaluation/retrieval.h"
#include "evaluation/subjects.h"
#include "start/data_sources.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <span>
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
  report::AttentionValues attention;
};
using Measure = std::function<Measured(model::GPT& model)>;

// What a comparison begins with.
struct Plan {
  Subjects subjects;
  std::vector<Condition> conditions;

  // The first subject of the baseline, whose training the default lengths are multiples of.
  const Subject& baseline() const {
    const std::vector<Candidate>& candidates = conditions.front().candidates;
    const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
      return candidate.variant == subjects.baseline;
    });
    return subjects.all[found->subject];
  }
};

Plan make_plan(const ModelOptions& options) {
  const auto candidates = [&](const Subjects& found) {
    return candidate_names(make_conditions(found, options.changes).front());
  };
  Plan plan{.subjects = find_subjects(options.paths, options.baseline, candidates), .conditions = {}};
  plan.conditions = make_conditions(plan.subjects, options.changes);
  return plan;
}

EvaluatedModel describe(const Subject& subject, const Candidate& candidate, const LoadedModel& loaded) {
  EvaluatedModel model;
  model.variant = candidate.variant;
  model.seed = subject.seed;
  model.checkpoint = subject.checkpoint;
  if (loaded.trainer) model.step = loaded.trainer->step;
  model.attention = config::to_string(loaded.model->spec().config.attention.kind);
  model.trained_length = loaded.trained_length;
  model.rope_theta = loaded.rope_theta;
  model.changes = applied_changes(candidate.overrides, loaded);
  model.fitted = fitted_positions(loaded);
  return model;
}

// Whether each change has one value at most and there is one model: then the last of the models that are
// measured is the one asked for.
bool is_single(const Subjects& subjects, const ChangeLists& changes) {
  return subjects.all.size() == 1 && changes.rope_thetas.size() <= 1 &&
         changes.row_scales.size() + changes.swaps.size() <= 1;
}

// Loads each model of each condition for windows of `length` tokens, measures it, and judges.
void measure_all(const Plan& plan, const ModelOptions& options, int64_t length, const Measure& measure,
                 const Progress& progress, Evaluation& evaluation) {
  const Subjects& subjects = plan.subjects;
  size_t count = 0;
  for (const Condition& condition : plan.conditions) count += condition.candidates.size();
  size_t number = 0;
  for (const Condition& condition : plan.conditions) {
    EvaluatedCondition& result = evaluation.conditions.emplace_back();
    result.rope_theta = condition.rope_theta;
    result.baseline = subjects.baseline;
    for (const Candidate& candidate : condition.candidates) {
      const Subject& subject = subjects.all[candidate.subject];
      if (progress.model)
        progress.model(fmt::format("{}, seed {}", candidate.variant, subject.seed), number, count);
      ++number;
      const LoadedModel loaded = load_model(
          subject.checkpoint,
          {.sequence_length = length, .overrides = candidate.overrides, .placement = options.placement});
      EvaluatedModel& model = result.models.emplace_back(describe(subject, candidate, loaded));
      evaluation.dtype = loaded.model->execution().dtype == at::kBFloat16 ? "bfloat16" : "float32";
      evaluation.device = loaded.model->execution().device.str();
      Measured measured = measure(*loaded.model);
      model.loss = std::move(measured.loss);
      model.accuracy = std::move(measured.accuracy);
      model.attention_values = std::move(measured.attention);
    }
    report::judge(evaluation.kind, result);
  }
  evaluation.single = is_single(subjects, options.changes);
  const EvaluatedModel& first = evaluation.conditions[0].models[0];
  const report::PointValue& one_point =
      first.attention_values.layers.empty() ? first.loss[0] : first.attention_values.layers[0].mean[0][0];
  evaluation.trials = static_cast<int64_t>(one_point.trials.size());
}

int64_t end_of_documents(const Subject& subject) {
  if (subject.run && subject.run->config.data.document_token_id)
    return *subject.run->config.data.document_token_id;
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

void append(std::vector<report::Note>& notes, const std::vector<report::Note>& more) {
  notes.insert(notes.end(), more.begin(), more.end());
}

void check_no_documents(const Subjects& subjects) {
  for (const Subject& subject : subjects.all) {
    if (!subject.summary.spec.document_token_id) continue;
    throw core::UsageError(
        "{}: its attention ends with a document (data.reset_at_document), and trials may hold the token that "
        "ends one: retrieval cannot be measured of it.",
        subject.checkpoint.string());
  }
}

std::vector<std::filesystem::path> shards_of(const std::vector<std::string>& globs) {
  std::vector<std::filesystem::path> shards;
  std::set<std::filesystem::path> seen;
  for (const std::string& glob : globs) {
    for (const std::filesystem::path& shard : core::expand_globs({glob})) {
      if (!seen.insert(std::filesystem::weakly_canonical(shard)).second)
        throw core::UsageError("--data: {} is named twice.", shard.string());
      shards.push_back(shard);
    }
  }
  return shards;
}

int64_t longest_window(const PositionOptions& options, int64_t trained_length) {
  const int64_t length = options.max_length.value_or(std::min(4 * trained_length, kMaxLength));
  if (length < 1 || length > kMaxLength)
    throw core::UsageError("--max-length {}: allowed are 1 to {}.", length, kMaxLength);
  return length;
}

// What is measured of the windows that a request chose.
using MeasureWindows =
    std::function<Measured(model::GPT& model, const data::TokenSource& source,
                           std::span<const int64_t> windows, const PositionRequest& request)>;

Evaluation compare_on_windows(report::EvaluationKind kind, const PositionOptions& options,
                              const MeasureWindows& measure, const Progress& progress) {
  const Plan plan = make_plan(options.models);
  const Subjects& subjects = plan.subjects;
  Evaluation evaluation;
  evaluation.kind = kind;
  evaluation.trained_length = plan.baseline().summary.spec.sequence_length;
  if (const auto unknown = check_same_vocabulary(subjects, /*same_tokenizer=*/true))
    evaluation.notes.push_back({/*warning=*/true, *unknown});
  append(evaluation.notes, notes_on_training(subjects, plan.baseline()));
  evaluation.data = options.data;
  evaluation.documents = options.documents;

  const int64_t length = longest_window(options, evaluation.trained_length);
  check_candidates(subjects, plan.conditions, length);
  PositionRequest request;
  request.bin_ends = options.bin ? equal_bin_ends(*options.bin, length)
                                 : default_bin_ends(evaluation.trained_length, length);
  request.max_windows = options.max_windows;
  request.batch_size = options.batch_size;
  if (options.documents) request.document_token_id = end_of_documents(subjects.all.front());
  request.on_progress = progress.batch;
  evaluation.points = points_of_bins(request.bin_ends);
  const data::TokenSource source(shards_of(options.data));
  const std::vector<int64_t> windows =
      choose_windows(source, request, subjects.all.front().summary.spec.config.vocab_size);
  measure_all(
      plan, options.models, length,
      [&](model::GPT& model) { return measure(model, source, windows, request); }, progress, evaluation);
  return evaluation;
}

}  // namespace

Evaluation compare_by_position(const PositionOptions& options, const Progress& progress) {
  return compare_on_windows(
      report::EvaluationKind::kPosition, options,
      [](model::GPT& model, const data::TokenSource& source, std::span<const int64_t> windows,
         const PositionRequest& request) {
        return Measured{
            .loss = losses_by_position(model, source, windows, request), .accuracy = {}, .attention = {}};
      },
      progress);
}

Evaluation compare_attention(const PositionOptions& options, const Progress& progress) {
  return compare_on_windows(
      report::EvaluationKind::kAttention, options,
      [](model::GPT& model, const data::TokenSource& source, std::span<const int64_t> windows,
         const PositionRequest& request) {
        return Measured{
            .loss = {}, .accuracy = {}, .attention = attention_by_position(model, source, windows, request)};
      },
      progress);
}

Evaluation compare_by_retrieval(const RetrievalOptions& options, const Progress& progress) {
  const Plan plan = make_plan(options.models);
  const Subjects& subjects = plan.subjects;
  check_same_vocabulary(subjects, /*same_tokenizer=*/false);
  check_no_documents(subjects);
  Evaluation evaluation;
  evaluation.kind = report::EvaluationKind::kRetrieval;
  evaluation.trained_length = plan.baseline().summary.spec.sequence_length;
  evaluation.notes = notes_on_training(subjects, plan.baseline());
  append(evaluation.notes, notes_on_task(subjects, options.task));
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
  const int64_t longest = request.lengths.back() - 1;  // nothing is predicted behind the last token
  check_candidates(subjects, plan.conditions, longest);
  measure_all(
      plan, options.models, longest,
      [&](model::GPT& model) {
        RetrievalValues values = retrieve(model, request);
        return Measured{
            .loss = std::move(values.loss), .accuracy = std::move(values.accuracy), .attention = {}};
      },
      progress, evaluation);
  return evaluation;
}

}  // namespace ssgpt::evaluation
