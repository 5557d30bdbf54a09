#include "evaluation/loss.h"

#include "checkpoint/checkpoint.h"
#include "core/file.h"
#include "data/token_source.h"
#include "evaluation/applied_changes.h"

#include <algorithm>

namespace ssgpt::evaluation {

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
  const data::TokenSource source(core::expand_globs(options.data));
  const model::GPTSpec& spec = loaded.model->spec();
  const int64_t available = source.num_windows(spec.sequence_length);
  LossReport report;
  report.windows = std::min(available, options.max_windows.value_or(available));
  report.sequence_length = spec.sequence_length;
  report.attention = to_string(spec.config.attention.kind);
  if (loaded.trainer) report.step = loaded.trainer->step;
  report.changes = applied_changes(overrides, loaded);
  report.fitted = fitted_positions(loaded);
  parallel::Communicator alone;
  report.result = train::mean_window_loss(*loaded.model, source, report.windows, options.batch_size, alone);
  return report;
}

}  // namespace ssgpt::evaluation
