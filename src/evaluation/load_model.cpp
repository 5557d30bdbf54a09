#include "evaluation/load_model.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"

#include <string>
#include <vector>

#include <fmt/ranges.h>

namespace ssgpt::evaluation {

LoadedModel load_model(const std::filesystem::path& checkpoint, std::optional<int64_t> sequence_length,
                       const model::Execution& execution) {
  const checkpoint::Snapshot snapshot = checkpoint::read(checkpoint, /*with_optimizer=*/false);
  model::GPTSpec spec = snapshot.spec;
  const bool learned = spec.config.attention.kind == config::AttentionKind::kLearnedPn;
  if (sequence_length && learned && *sequence_length != spec.sequence_length) {
    throw core::UsageError("{} has a learned p_n of {} entries: its windows are {} tokens long, not {}.",
                           checkpoint.string(), spec.sequence_length, spec.sequence_length, *sequence_length);
  }
  spec.sequence_length = sequence_length.value_or(spec.sequence_length);
  LoadedModel loaded{.model = std::make_unique<model::GPT>(spec, execution), .trainer = snapshot.trainer};
  model::ParameterStore& parameters = loaded.model->parameters();
  const checkpoint::FlatState target{
      .layout = parameters.parameters(), .master = parameters.flat_master(), .exp_avg = {}, .exp_avg_sq = {}};
  const std::vector<std::string> missing = checkpoint::copy_by_name(snapshot.flat, target);
  if (!missing.empty()) {
    throw core::InputError("{} lacks {}.", checkpoint.string(), fmt::join(missing, ", "));
  }
  parameters.refresh_compute();
  return loaded;
}

}  // namespace ssgpt::evaluation
