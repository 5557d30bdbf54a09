#include "evaluation/compare_models.h"

#include "core/error.h"
#include "data/token_source.h"
#include "evaluation/attention.h"
#include "evaluation/comparison.h"
#include "evaluation/notes.h"
#include "evaluation/position.h"
#include "evaluation/retrieval.h"
#include "evaluation/rising.h"
#include "evaluation/subjects.h"
#include "start/data_sources.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <utility>

namespace ssgpt::evaluation {
namespace {

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

void check_no_documents(const Subjects& subjects) {
  for (const Subject& subject : subjects.all) {
    if (!subject.summary.spec.document_token_id) continue;
    throw core::UsageError(
        "{}: its attention ends with a document (data.reset_at_document), and trials may hold the token that "
        "ends one: retrieval cannot be measured of it.",
        subject.checkpoint.string());
  }
}

int64_t longest_window(const PositionOptions& options, int64_t trained_length) {
  const int64_t length = options.max_length.value_or(std::min(4 * trained_length, kMaxLength));
  if (length < 1 || length > kMaxLength)
    throw core::UsageError("--max-length {}: allowed are 1 to {}.", length, kMaxLength);
  return length;
}

// Measures the windows that a request chose.
using MeasureWindows =
    std::function<void(model::GPT& model, const data::TokenSource& source, std::span<const int64_t> windows,
                       const PositionRequest& request, report::EvaluatedModel& measured)>;

report::Evaluation compare_on_windows(report::EvaluationKind kind, const PositionOptions& options,
                                      const MeasureWindows& measure, const Progress& progress) {
  const Plan plan = make_plan(options.models);
  const Subjects& subjects = plan.subjects;
  report::Evaluation evaluation;
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
      [&](model::GPT& model, report::EvaluatedModel& measured) {
        measure(model, source, windows, request, measured);
      },
      progress, evaluation);
  return evaluation;
}

}  // namespace

report::Evaluation compare_by_position(const PositionOptions& options, const Progress& progress) {
  return compare_on_windows(
      report::EvaluationKind::kPosition, options,
      [](model::GPT& model, const data::TokenSource& source, std::span<const int64_t> windows,
         const PositionRequest& request, report::EvaluatedModel& measured) {
        measured.loss = losses_by_position(model, source, windows, request);
      },
      progress);
}

report::Evaluation compare_attention(const PositionOptions& options, const Progress& progress) {
  return compare_on_windows(
      report::EvaluationKind::kAttention, options,
      [](model::GPT& model, const data::TokenSource& source, std::span<const int64_t> windows,
         const PositionRequest& request, report::EvaluatedModel& measured) {
        measured.attention_values = attention_by_position(model, source, windows, request);
      },
      progress);
}

report::Evaluation compare_by_retrieval(const RetrievalOptions& options, const Progress& progress) {
  const Plan plan = make_plan(options.models);
  const Subjects& subjects = plan.subjects;
  check_same_vocabulary(subjects, /*same_tokenizer=*/false);
  check_no_documents(subjects);
  report::Evaluation evaluation;
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
  check_rising("--lengths", request.lengths, 1, kMaxLength);
  const int64_t vocab_size = subjects.all.front().summary.spec.config.vocab_size;
  for (const int64_t length : request.lengths) {
    data::check_synthetic(options.task, vocab_size, length);
    evaluation.points.push_back({.first = length, .last = length});
  }
  const int64_t longest = request.lengths.back() - 1;  // nothing is predicted after the last token
  check_candidates(subjects, plan.conditions, longest);
  measure_all(
      plan, options.models, longest,
      [&](model::GPT& model, report::EvaluatedModel& measured) {
        RetrievalValues values = retrieve(model, request);
        measured.loss = std::move(values.loss);
        measured.accuracy = std::move(values.accuracy);
      },
      progress, evaluation);
  return evaluation;
}

}  // namespace ssgpt::evaluation
