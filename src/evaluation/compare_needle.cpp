#include "evaluation/compare_needle.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/outputs.h"
#include "evaluation/comparison.h"
#include "evaluation/needle.h"
#include "evaluation/notes.h"
#include "start/data_sources.h"

#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

namespace ssgpt::evaluation {
namespace {

// The tokenizer of the first model that has one: check_same_vocabulary() refuses differing ones.
tokenizer::Tokenizer common_tokenizer(const Subjects& subjects) {
  for (const Subject& subject : subjects.all) {
    if (subject.summary.tokenizer) return tokenizer::Tokenizer(*subject.summary.tokenizer);
  }
  throw core::UsageError(
      "{} holds no tokenizer.model, which is needed to encode the needle and the question; a run whose "
      "config names its data.tokenizer has one.",
      subjects.all.front().checkpoint.string());
}

// The token at which models with document masking end a document; nullopt if no model uses document masking.
std::optional<int64_t> document_token(const Subjects& subjects) {
  const Subject* first = nullptr;
  for (const Subject& subject : subjects.all) {
    const std::optional<int64_t>& token = subject.summary.spec.document_token_id;
    if (!token) continue;
    if (first == nullptr) first = &subject;
    const int64_t other = *first->summary.spec.document_token_id;
    if (*token == other) continue;
    throw core::UsageError(
        "The attention of {} ends with the token {}, that of {} with {} (data.reset_at_document): no text is "
        "a single document to both, so that they cannot be asked for the same needles.",
        first->checkpoint.string(), other, subject.checkpoint.string(), *token);
  }
  return first == nullptr ? std::nullopt : first->summary.spec.document_token_id;
}

// Without document masking, models may name different tokens that end a document: the first one named is
// used.
std::optional<int64_t> document_end(const Subjects& subjects, const tokenizer::Tokenizer& tokenizer) {
  if (const std::optional<int64_t> token = document_token(subjects)) return token;
  for (const Subject& subject : subjects.all) {
    if (subject.run && subject.run->config.data.document_token_id)
      return *subject.run->config.data.document_token_id;
  }
  return start::end_of_document(std::nullopt, &tokenizer);
}

// Checked before hours of work, so that no result is lost.
void check_trials_out(const NeedleOptions& options) {
  if (!options.trials_out) return;
  core::refuse_output_over_input("--trials-out", *options.trials_out, files_of_data(options.data));
  for (const std::filesystem::path& checkpoint : options.models.paths) {
    if (!core::lies_under(*options.trials_out, checkpoint)) continue;
    throw core::UsageError("--trials-out {}: it would be inside {}, which is an input; write somewhere else.",
                           options.trials_out->string(), checkpoint.string());
  }
  if (std::filesystem::is_directory(*options.trials_out))
    throw core::UsageError("--trials-out {}: it is a directory, not a file.", options.trials_out->string());
}

std::vector<std::vector<float>> by_layer(const std::vector<float>& heads, int64_t num_heads) {
  std::vector<std::vector<float>> layers;
  for (auto next = heads.begin(); next != heads.end(); next += num_heads)
    layers.emplace_back(next, next + num_heads);
  return layers;
}

// Writes one line per trial.
class TrialLines {
 public:
  explicit TrialLines(const std::optional<std::filesystem::path>& path) {
    if (path) file_ = std::make_unique<core::AtomicFile>(*path);
  }

  void add(size_t condition, const report::EvaluatedModel& model, int64_t length, int64_t depth,
           const NeedlePrompts& prompts, const std::vector<NeedleOutcome>& outcomes, int64_t num_heads) {
    for (size_t i = 0; file_ && i < outcomes.size(); ++i) {
      const NeedleOutcome& outcome = outcomes[i];
      const NeedlePrompt prompt = prompts.make(length, depth, static_cast<int64_t>(i));
      nlohmann::ordered_json line = {{"condition", condition},
                                     {"variant", model.variant},
                                     {"seed", model.seed},
                                     {"checkpoint", model.checkpoint.string()},
                                     {"length", length},
                                     {"depth", depth},
                                     {"trial", i},
                                     {"city", prompt.city},
                                     {"answer", prompt.number},
                                     {"generated", outcome.generated},
                                     {"generated_tokens", outcome.generated_tokens},
                                     {"correct", outcome.right},
                                     {"leading_digits", outcome.leading_digits},
                                     {"margin", outcome.margin()},
                                     {"log_probability", outcome.log_probability},
                                     {"distractors", prompt.distractors},
                                     {"wrong_log_probabilities", outcome.wrong},
                                     {"needle_first_token", prompt.needle_first},
                                     {"needle_tokens", prompt.needle_tokens},
                                     {"haystack_tokens", prompt.haystack_tokens},
                                     {"prompt_tokens", prompt.tokens}};
      if (!outcome.attention.empty()) line["attention"] = by_layer(outcome.attention, num_heads);
      if (!outcome.finite) {
        for (const char* name : {"correct", "leading_digits", "margin"}) line[name] = nullptr;
      }
      file_->write(core::json_text(line) + "\n");
    }
  }

  void commit() {
    if (file_) file_->commit();
  }

 private:
  std::unique_ptr<core::AtomicFile> file_;
};

// The trials, with what they are made from.
struct Trials {
  Trials(const NeedleOptions& options, const NeedleSettings& settings, const Subjects& subjects)
      : tokenizer(common_tokenizer(subjects)),
        stop_token(document_end(subjects, tokenizer)),
        haystack(data::TokenSource(shards_of(options.data)), tokenizer, vocab_size_of(subjects), stop_token,
                 settings.lengths.back()),
        prompts(haystack, tokenizer, settings, vocab_size_of(subjects), document_token(subjects)) {}

  static int64_t vocab_size_of(const Subjects& subjects) {
    return subjects.all.front().summary.spec.config.vocab_size;
  }

  tokenizer::Tokenizer tokenizer;
  std::optional<int64_t> stop_token;
  Haystack haystack;
  NeedlePrompts prompts;
};

NeedleSettings with_default_lengths(NeedleSettings settings, int64_t trained_length) {
  if (settings.lengths.empty())
    settings.lengths = {trained_length, 2 * trained_length, 4 * trained_length, 8 * trained_length};
  return settings;
}

// Measures one model at every point.
void measure_needles(const model::GPT& model, const Trials& trials, const NeedleOptions& options,
                     const Progress& progress, size_t condition, TrialLines& lines,
                     report::EvaluatedModel& measured) {
  const NeedleSettings& settings = trials.prompts.settings();
  const auto tokens_of = [&](int64_t length) {
    return length * settings.trials;
  };
  int64_t all = 0;
  for (const int64_t length : settings.lengths)
    all += tokens_of(length) * static_cast<int64_t>(settings.depths.size());
  int64_t before = 0;
  const NeedleRequest request{.stop_token = trials.stop_token,
                              .attention = options.attention,
                              .batch_size = options.batch_size,
                              .on_progress = [&](int64_t done, int64_t) {
                                if (progress.batch) progress.batch(before + done, all);
                              }};
  for (const int64_t length : settings.lengths) {
    for (const int64_t depth : settings.depths) {
      const std::vector<NeedleOutcome> outcomes =
          find_needles(model, trials.prompts, trials.tokenizer, length, depth, request);
      NeedleValues values = values_of_outcomes(outcomes);
      measured.share_right.push_back(std::move(values.share_right));
      measured.margin.push_back(std::move(values.margin));
      measured.first_digit_right.push_back(values.first_digit_right);
      const int64_t num_heads = model.spec().config.num_attention_heads;
      if (options.attention) measured.needle_attention.push_back(attention_on_needles(outcomes, num_heads));
      lines.add(condition, measured, length, depth, trials.prompts, outcomes, num_heads);
      before += tokens_of(length);
    }
  }
}

}  // namespace

report::Evaluation compare_by_needle(const NeedleOptions& options, const Progress& progress) {
  const Plan plan = make_plan(options.models);
  const Subjects& subjects = plan.subjects;
  report::Evaluation evaluation;
  evaluation.kind = report::EvaluationKind::kNeedle;
  evaluation.trained_length = plan.baseline().summary.spec.sequence_length;
  if (const auto unknown = check_same_vocabulary(subjects, /*same_tokenizer=*/true))
    evaluation.notes.push_back({/*warning=*/true, *unknown});
  append(evaluation.notes, notes_on_training(subjects, plan.baseline()));
  const NeedleSettings settings = with_default_lengths(options.settings, evaluation.trained_length);
  check_settings(settings);
  const int64_t longest = settings.lengths.back() - 1;  // nothing is read after an answer's last token
  check_candidates(subjects, plan.conditions, longest);
  check_trials_out(options);
  const Trials trials(options, settings, subjects);
  evaluation.data = options.data;
  evaluation.prompt = settings.prompt;
  evaluation.distractors = settings.distractors;
  evaluation.answer_tokens = settings.answer_tokens;
  evaluation.seed = settings.seed;
  for (const int64_t length : settings.lengths) {
    for (const int64_t depth : settings.depths)
      evaluation.points.push_back({.first = length, .last = length, .depth = depth});
  }
  TrialLines lines(options.trials_out);
  measure_all(
      plan, options.models, longest,
      [&](model::GPT& model, report::EvaluatedModel& measured) {
        measure_needles(model, trials, options, progress, evaluation.conditions.size() - 1, lines, measured);
      },
      progress, evaluation);
  lines.commit();
  return evaluation;
}

}  // namespace ssgpt::evaluation
