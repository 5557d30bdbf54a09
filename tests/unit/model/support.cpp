#include "model/support.h"

#include "core/random.h"

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

namespace ssgpt::model {

const std::vector<config::AttentionKind>& all_kinds() {
  static const std::vector<config::AttentionKind> kinds = [] {
    std::vector<config::AttentionKind> list;
    for (const config::AttentionKindRow& row : config::attention_kinds())
      list.push_back(config::kind_of(row));
    return list;
  }();
  return kinds;
}

GPTSpec small_spec(config::AttentionKind kind, std::optional<int64_t> document_token_id) {
  GPTSpec spec;
  spec.config.vocab_size = 37;
  spec.config.hidden_size = 24;
  spec.config.num_hidden_layers = 2;
  spec.config.num_attention_heads = 3;
  spec.config.intermediate_size = 20;
  spec.config.attention.kind = kind;
  if (config::has_floor(kind)) {
    spec.config.attention.attn_scale = 0.7;
    spec.config.attention.floor_scale = 3;
  }
  spec.sequence_length = 11;
  spec.document_token_id = document_token_id;
  return spec;
}

GPTSpec short_trained_spec(config::AttentionKind kind, std::optional<int64_t> document_token_id) {
  GPTSpec spec = small_spec(kind, document_token_id);
  spec.trained_length = 4;
  return spec;
}

GPTSpec Variant::spec() const {
  GPTSpec spec = short_trained_spec(kind, documents ? std::optional<int64_t>(3) : std::nullopt);
  spec.config.qk_norm = qk_norm;
  spec.config.rope_fraction = rope_fraction;
  spec.config.nope_layers.layers = nope_layers;
  return spec;
}

std::string to_string(const Variant& variant) {
  std::string name(config::to_string(variant.kind));
  if (variant.qk_norm == config::QkNorm::kRms) name += "_norm";
  if (variant.rope_fraction != 1.0) name += "_half";
  for (const int64_t layer : variant.nope_layers) name += fmt::format("_nope{}", layer);
  return name + (variant.documents ? "_documents" : "");
}

std::vector<Variant> plain_variants() {
  std::vector<Variant> variants;
  for (const config::AttentionKind kind : all_kinds()) {
    for (const bool documents : {false, true}) variants.push_back({.kind = kind, .documents = documents});
  }
  return variants;
}

std::vector<Variant> variants_of_options() {
  std::vector<Variant> variants = {{.kind = config::AttentionKind::kSoftmax,
                                    .qk_norm = config::QkNorm::kRms,
                                    .rope_fraction = 1.0,
                                    .nope_layers = {},
                                    .documents = false}};
  for (size_t i = 0; i < all_kinds().size(); ++i) {
    for (size_t rotation = 0; rotation < 4; ++rotation) {
      const bool norm = (i + rotation) % 2 == 1;
      Variant variant = {.kind = all_kinds()[i],
                         .qk_norm = norm ? config::QkNorm::kRms : config::QkNorm::kNone,
                         .rope_fraction = rotation % 2 == 0 ? 1.0 : 0.5,
                         .documents = (i + rotation / 2) % 2 == 1};
      if (rotation >= 2) variant.nope_layers = {static_cast<int64_t>(i % 2)};
      if (norm || rotation > 0) variants.push_back(variant);
    }
  }
  return variants;
}

void randomize(ParameterStore& store, uint64_t seed) {
  for (const Parameter& parameter : store.parameters()) {
    const at::Tensor master = store.master(parameter.spec.name);
    const uint64_t key = core::stream_key(seed, parameter.spec.name);
    const bool is_matrix = parameter.spec.shape.size() == 2;
    for (int64_t i = 0; i < parameter.numel; ++i) {
      const double normal = core::random_normal(key, static_cast<uint64_t>(i));
      master.mutable_data_ptr<float>()[i] = static_cast<float>(is_matrix ? 0.3 * normal : 1.0 + 0.3 * normal);
    }
  }
  store.refresh_compute();
}

Batch random_batch(int64_t batch, int64_t time, int64_t vocab_size, uint64_t seed,
                   bool with_negative_targets) {
  const Batch result = {at::empty({batch, time}, at::kLong), at::empty({batch, time}, at::kLong)};
  const uint64_t key = core::stream_key(seed, "batch");
  const auto token = [&](int64_t index) {
    return static_cast<int64_t>(core::random_bits(key, static_cast<uint64_t>(index)) %
                                static_cast<uint64_t>(vocab_size));
  };
  for (int64_t i = 0; i < batch * time; ++i) {
    result.tokens.mutable_data_ptr<int64_t>()[i] = token(2 * i);
    const bool negative = with_negative_targets && token(2 * i + 1) % 5 == 0;
    result.targets.mutable_data_ptr<int64_t>()[i] = negative ? -1 : token(2 * i + 1);
  }
  return result;
}

std::vector<Batch> specification_batches() {
  return {random_batch(3, 7, 7, 1, /*with_negative_targets=*/true), random_batch(1, 11, 7, 2),
          random_batch(5, 2, 7, 3), random_batch(2, 1, 7, 4)};
}

at::Tensor zero_loss() {
  return at::zeros({}, at::kDouble);
}

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor e = expected.detach().to(at::kDouble);
  const double error = (actual.detach().to(at::kDouble) - e).norm().item<double>();
  const double size = e.norm().item<double>();
  if (error == 0.0) return 0.0;
  return size == 0.0 ? std::numeric_limits<double>::infinity() : error / size;
}

}  // namespace ssgpt::model
