#include "evaluation/models.h"

#include "checkpoint/checkpoint.h"
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

}  // namespace ssgpt::evaluation
