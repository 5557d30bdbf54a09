#include "evaluation/models.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/state.h"
#include "core/file.h"
#include "core/random.h"
#include "model/support.h"

#include <span>

namespace ssgpt::evaluation {

std::filesystem::path write_checkpoint(const std::filesystem::path& directory, config::AttentionKind kind,
                                       std::optional<int64_t> document_token_id) {
  const model::GPTSpec spec = model::small_spec(kind, document_token_id);
  model::ParameterStore store(model::parameter_specs(spec.config, spec.sequence_length), at::kCPU,
                              at::kFloat);
  model::randomize(store, 5);
  checkpoint::Snapshot snapshot;
  snapshot.spec = spec;
  snapshot.flat.layout = store.parameters();
  snapshot.flat.master = store.flat_master();
  std::filesystem::path path = directory / config::to_string(kind);
  checkpoint::write(path, snapshot);
  return path;
}

std::vector<uint16_t> some_tokens(int64_t count, int64_t vocab_size) {
  const uint64_t key = core::stream_key(3, "tokens of a test");
  std::vector<uint16_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<uint16_t>(core::random_bits(key, static_cast<uint64_t>(i)) %
                                           static_cast<uint64_t>(vocab_size)));
  }
  return tokens;
}

std::filesystem::path write_tokens(const std::filesystem::path& directory,
                                   const std::vector<uint16_t>& tokens) {
  std::filesystem::path path = directory / "tokens.bin";
  core::AtomicFile file(path);
  file.write(std::as_bytes(std::span(tokens)));
  file.commit();
  return path;
}

config::Config settings(config::AttentionKind kind, uint64_t seed) {
  config::Config config;
  config.run.name = "named";
  config.run.seed = seed;
  config.model.vocab_size = 29;
  config.model.hidden_size = 8;
  config.model.num_hidden_layers = 1;
  config.model.num_attention_heads = 2;
  config.model.intermediate_size = 12;
  config.model.attention.kind = kind;
  config.data.train = {"train.bin"};
  config.data.sequence_length = 16;
  config.train.max_steps = 100;
  config.train.global_batch_size = 4;
  config.train.micro_batch_size = 4;
  return config;
}

std::filesystem::path write_trained(const std::filesystem::path& directory, const config::Config& config,
                                    int64_t step, bool trained) {
  checkpoint::Snapshot snapshot;
  snapshot.spec.config = config.model;
  snapshot.spec.sequence_length = config.data.sequence_length;
  snapshot.flat = checkpoint::make_flat_state(
      model::parameter_specs(config.model, config.data.sequence_length), /*with_moments=*/trained);
  if (trained) {
    checkpoint::TrainerState state;
    state.step = step;
    state.dtype = "float32";
    state.run_id = "id";
    state.data_fingerprint = "f";
    state.config = config::dump(config);
    snapshot.trainer = state;
  }
  std::filesystem::create_directories(directory.parent_path());
  checkpoint::write(directory, snapshot);
  return directory;
}

}  // namespace ssgpt::evaluation
