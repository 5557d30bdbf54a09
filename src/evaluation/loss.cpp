#include "evaluation/loss.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "data/example_reader.h"
#include "data/packed_examples.h"
#include "data/token_source.h"
#include "evaluation/applied_changes.h"

#include <algorithm>

namespace ssgpt::evaluation {
namespace {

using Paths = std::vector<std::filesystem::path>;

void measure_text(model::GPT& model, const Paths& files, const LossOptions& options, LossReport& report) {
  const data::TokenSource source(files);
  const int64_t available = source.num_windows(report.sequence_length);
  report.windows = std::min(available, options.max_windows.value_or(available));
  parallel::Communicator alone;
  report.result = train::mean_window_loss(model, source, report.windows, options.batch_size, alone);
}

void measure_answers(model::GPT& model, const Paths& files, const LossOptions& options,
                     const std::optional<std::filesystem::path>& tokenizer_file, LossReport& report) {
  if (!tokenizer_file) {
    throw core::UsageError(
        "{} holds no tokenizer.model, without which examples, which are text, cannot be read.",
        options.checkpoint.string());
  }
  const tokenizer::Tokenizer tokenizer(*tokenizer_file);
  if (tokenizer.vocab_size() > model.spec().config.vocab_size) {
    throw core::InputError(
        "{}: its tokenizer has {} pieces and its model only {} tokens: they do not belong together.",
        options.checkpoint.string(), tokenizer.vocab_size(), model.spec().config.vocab_size);
  }
  const data::PackedExamples examples(files, tokenizer, report.sequence_length, options.on_long_example);
  const int64_t available = examples.num_windows();
  report.windows = std::min(available, options.max_windows.value_or(available));
  report.examples_left_out = examples.num_left_out();
  parallel::Communicator alone;
  report.result = train::mean_example_loss(model, examples, report.windows, options.batch_size, alone);
}

}  // namespace

LossReport evaluate_loss(const LossOptions& options) {
  const Subject subject{.variant = {},
                        .seed = 0,
                        .checkpoint = options.checkpoint,
                        .summary = checkpoint::read_summary(options.checkpoint),
                        .run = std::nullopt};
  const Overrides overrides = combine_changes(subject, options.changes);
  const LoadedModel loaded = load_model(
      options.checkpoint,
      {.sequence_length = options.sequence_length, .overrides = overrides, .placement = options.placement});
  const Paths files = core::expand_globs(options.data);
  const model::GPTSpec& spec = loaded.model->spec();
  LossReport report;
  report.sequence_length = spec.sequence_length;
  report.attention = to_string(spec.config.attention.kind);
  if (loaded.trainer) report.step = loaded.trainer->step;
  report.changes = applied_changes(overrides, loaded);
  report.fitted = fitted_positions(loaded);
  report.is_of_answers = std::any_of(files.begin(), files.end(), data::is_named_as_examples);
  if (report.is_of_answers) {
    measure_answers(*loaded.model, files, options, subject.summary.tokenizer, report);
  } else {
    measure_text(*loaded.model, files, options, report);
  }
  return report;
}

}  // namespace ssgpt::evaluation
