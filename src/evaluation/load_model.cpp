#include "evaluation/load_model.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "start/choose_device.h"

namespace ssgpt::evaluation {
namespace {

// Leaves the first `length` entries of p_n, which are all that windows of that length read.
void shorten_learned_position(checkpoint::FlatState& flat, int64_t length) {
  for (model::Parameter& parameter : flat.layout) {
    if (parameter.spec.name == "model.ssmax_position") {
      parameter.spec.shape = {length};
      parameter.numel = length;
    }
  }
}

model::Execution execution_of(const model::GPTSpec& spec, const Placement& placement) {
  config::Config config;
  config.model = spec.config;
  config.data.sequence_length = spec.sequence_length;
  config.data.reset_at_document = spec.document_token_id.has_value();
  config.train.device = placement.device;
  config.train.dtype = placement.bfloat16 ? config::Dtype::kBfloat16 : config::Dtype::kFloat32;
  start::resolve_by_rules(config);
  config::AttentionBackend& backend = config.train.attention_backend;
  if (backend == config::AttentionBackend::kAuto) backend = config::AttentionBackend::kFlash;  // unmeasured
  return start::execution_of(config.train);
}

}  // namespace

LoadedModel load_model(const std::filesystem::path& checkpoint, std::optional<int64_t> sequence_length,
                       const Placement& placement) {
  checkpoint::Snapshot snapshot = checkpoint::read(checkpoint, /*with_optimizer=*/false);
  model::GPTSpec spec = snapshot.spec;
  const bool learned = config::has_learned_position(spec.config.attention.kind);
  if (sequence_length && learned) {
    if (*sequence_length > spec.sequence_length) {
      throw core::UsageError("{} has a learned p_n of {} entries: its windows hold up to {} tokens, not {}.",
                             checkpoint.string(), spec.sequence_length, spec.sequence_length,
                             *sequence_length);
    }
    shorten_learned_position(snapshot.flat, *sequence_length);
  }
  spec.sequence_length = sequence_length.value_or(spec.sequence_length);
  LoadedModel loaded{.model = std::make_unique<model::GPT>(spec, execution_of(spec, placement)),
                     .trainer = snapshot.trainer};
  model::ParameterStore& parameters = loaded.model->parameters();
  const checkpoint::FlatState target{
      .layout = parameters.parameters(), .master = parameters.flat_master(), .exp_avg = {}, .exp_avg_sq = {}};
  checkpoint::load_into(snapshot.flat, target);
  parameters.refresh_compute();
  return loaded;
}

}  // namespace ssgpt::evaluation
