#include "checkpoint/model_config.h"

#include "checkpoint/modeling_file.h"
#include "core/check.h"
#include "core/error.h"
#include "core/json.h"
#include "core/json_fields.h"
#include "core/text.h"

#include <cmath>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {

namespace {

template <typename T>
nlohmann::ordered_json or_null(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

std::string modeling_class(std::string_view name) {
  return fmt::format("{}.{}", kModelingFileName.substr(0, kModelingFileName.rfind('.')), name);
}

config::AttentionKind read_kind(const core::JsonFields& fields) {
  const std::string type = fields.text("model_type");
  if (type == "llama") {
    return config::AttentionKind::kSoftmax;
  }
  if (type != "ssgpt") {
    throw core::InputError("{}: model_type is '{}'; 'llama' and 'ssgpt' can be read", fields.path().string(),
                           core::excerpt(type));
  }
  const std::string name = fields.text("attention_kind");
  const auto kind = config::parse_attention_kind(name);
  if (!kind) {
    throw core::InputError("{}: attention_kind '{}' is not one of {}", fields.path().string(),
                           core::excerpt(name), fmt::join(config::attention_kind_names(), ", "));
  }
  return *kind;
}

double read_rope_theta(const core::JsonFields& fields) {
  const core::JsonFields parameters = fields.object("rope_parameters");
  const auto plain = fields.optional_number("rope_theta");
  const auto nested = parameters.optional_number("rope_theta");
  if (plain && nested && *plain != *nested) {
    throw core::InputError("{}: rope_theta is {} but rope_parameters.rope_theta is {}: make them equal",
                           fields.path().string(), *plain, *nested);
  }
  const std::string type = parameters.optional_text("rope_type").value_or("default");
  if (type != "default" || fields.has("rope_scaling")) {
    throw core::InputError("{}: scaled RoPE ({}) is not supported", fields.path().string(),
                           type != "default" ? core::excerpt(type) : "rope_scaling");
  }
  if (parameters.optional_number("partial_rotary_factor").value_or(1.0) != 1.0 ||
      fields.optional_number("partial_rotary_factor").value_or(1.0) != 1.0) {
    throw core::InputError("{}: partial RoPE (partial_rotary_factor) is not supported",
                           fields.path().string());
  }
  return nested.value_or(plain.value_or(10000.0));
}

void refuse_other_mathematics(const core::JsonFields& fields, const config::ModelConfig& model) {
  const auto refuse = [&](std::string_view what) {
    throw core::InputError("{}: {}, which this program does not have: the model cannot be read",
                           fields.path().string(), what);
  };
  const int64_t key_value_heads =
      fields.optional_integer("num_key_value_heads").value_or(model.num_attention_heads);
  if (key_value_heads != model.num_attention_heads) {
    refuse(fmt::format("grouped-query attention (num_key_value_heads {} of {} heads)", key_value_heads,
                       model.num_attention_heads));
  }
  if (fields.optional_flag("tie_word_embeddings").value_or(false)) {
    refuse("the input and output embeddings are tied (tie_word_embeddings)");
  }
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    if (fields.optional_flag(bias).value_or(false)) {
      refuse(fmt::format("linear layers have biases ({})", bias));
    }
  }
  const int64_t head_dim = model.hidden_size / model.num_attention_heads;
  if (fields.optional_integer("head_dim").value_or(head_dim) != head_dim) {
    refuse("head_dim is not hidden_size / num_attention_heads");
  }
  if (const auto activation = fields.optional_text("hidden_act"); activation.value_or("silu") != "silu") {
    refuse(fmt::format("the activation is {}", core::excerpt(*activation)));
  }
  for (const char* key : {"sliding_window", "quantization_config"}) {
    if (fields.has(key)) {
      refuse(fmt::format("it has a {}", key));
    }
  }
}

// Far beyond any model, and small enough that no product of them overflows and that listing the parameters
// takes moments.
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 10'000;
constexpr int64_t kMaxLength = int64_t{1} << 24;

int64_t size_up_to(int64_t most, const core::JsonFields& fields, const std::string& key) {
  const int64_t value = fields.integer(key);
  if (value <= 0 || value > most) {
    throw core::InputError("{}: '{}' is {}; it must be from 1 to {}", fields.path().string(), key, value,
                           most);
  }
  return value;
}

void check_numbers(const core::JsonFields& fields, const config::ModelConfig& model) {
  const auto refuse = [&](const char* key, double value, std::string_view expected) {
    throw core::InputError("{}: '{}' is {}; it must be {}", fields.path().string(), key, value, expected);
  };
  for (const auto& [key, value] :
       {std::pair("rope_theta", model.rope_theta), {"rms_norm_eps", model.rms_norm_eps}}) {
    if (!std::isfinite(value) || value <= 0.0) refuse(key, value, "finite and above 0");
  }
  if (!std::isfinite(model.initializer_range) || model.initializer_range < 0.0) {
    refuse("initializer_range", model.initializer_range, "finite and not negative");
  }
  const double attn_scale = model.attention.attn_scale.value_or(config::PositionConstants().attn_scale);
  if (!config::is_attn_scale(attn_scale)) {
    refuse("attn_scale", attn_scale, fmt::format("above 0 and at most {}", config::kMaxAttnScale));
  }
  const int64_t floor_scale = model.attention.floor_scale.value_or(config::PositionConstants().floor_scale);
  if (floor_scale < 1 || floor_scale > config::kMaxFloorScale) {
    refuse("floor_scale", static_cast<double>(floor_scale),
           fmt::format("from 1 to {}", config::kMaxFloorScale));
  }
  for (const auto& [key, value] : {std::pair("ssgpt.scale_init", model.attention.scale_init.value_or(0.0)),
                                   {"ssgpt.bias_init", model.attention.bias_init}}) {
    if (!std::isfinite(value)) refuse(key, value, "finite");
  }
}

}  // namespace

bool is_llama(const model::GPTSpec& spec) {
  return !config::has_row_scale(spec.config.attention.kind) && !spec.document_token_id;
}

std::string model_config_text(const model::GPTSpec& spec, const SpecialTokens& tokens) {
  const config::ModelConfig& model = spec.config;
  SSGPT_CHECK(!spec.rope_change.yarn && spec.rope_change.score_factor == 1.0 && !spec.trained_length,
              "a checkpoint of a model whose positions were changed for an evaluation");
  const bool llama = is_llama(spec);
  nlohmann::ordered_json json;
  json["architectures"] = {llama ? "LlamaForCausalLM" : "SsgptForCausalLM"};
  json["model_type"] = llama ? "llama" : "ssgpt";
  if (!llama) {
    json["attention_kind"] = config::to_string(model.attention.kind);
    json["auto_map"] = {{"AutoConfig", modeling_class("SsgptConfig")},
                        {"AutoModelForCausalLM", modeling_class("SsgptForCausalLM")}};
  }
  if (config::has_floor(model.attention.kind)) {
    const config::PositionConstants constants = model::position_constants(spec);
    json["attn_scale"] = constants.attn_scale;
    json["floor_scale"] = constants.floor_scale;
  }
  json["vocab_size"] = model.vocab_size;
  json["hidden_size"] = model.hidden_size;
  json["intermediate_size"] = model.intermediate_size;
  json["num_hidden_layers"] = model.num_hidden_layers;
  json["num_attention_heads"] = model.num_attention_heads;
  json["num_key_value_heads"] = model.num_attention_heads;
  json["max_position_embeddings"] = spec.sequence_length;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = model.rms_norm_eps;
  json["rope_theta"] = model.rope_theta;
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", model.rope_theta}};
  json["initializer_range"] = model.initializer_range;
  json["attention_bias"] = false;
  json["mlp_bias"] = false;
  json["tie_word_embeddings"] = false;
  json["bos_token_id"] = or_null(tokens.bos);
  json["eos_token_id"] = or_null(tokens.eos);
  json["torch_dtype"] = "float32";
  json["dtype"] = "float32";
  json["ssgpt"] = {{"scale_init", or_null(model.attention.scale_init)},
                   {"bias_init", model.attention.bias_init},
                   {"document_token_id", or_null(spec.document_token_id)}};
  return core::json_text(json, 2) + "\n";
}

model::GPTSpec read_model_config(const std::filesystem::path& path) {
  const core::JsonFields fields(path);
  const core::JsonFields own = fields.object("ssgpt");
  model::GPTSpec spec;
  config::ModelConfig& model = spec.config;
  model.attention.kind = read_kind(fields);
  model.attention.scale_init = own.optional_number("scale_init");
  model.attention.bias_init = own.optional_number("bias_init").value_or(0.0);
  if (config::has_floor(model.attention.kind)) {
    model.attention.attn_scale = fields.optional_number("attn_scale");
    model.attention.floor_scale = fields.optional_integer("floor_scale");
  }
  model.vocab_size = size_up_to(kMaxVocabulary, fields, "vocab_size");
  model.hidden_size = size_up_to(kMaxWidth, fields, "hidden_size");
  model.num_hidden_layers = size_up_to(kMaxLayers, fields, "num_hidden_layers");
  model.num_attention_heads = size_up_to(kMaxWidth, fields, "num_attention_heads");
  model.intermediate_size = size_up_to(kMaxWidth, fields, "intermediate_size");
  model.rope_theta = read_rope_theta(fields);
  // Where a key may be missing, its value is that of transformers' LlamaConfig.
  model.rms_norm_eps = fields.optional_number("rms_norm_eps").value_or(1e-6);
  model.initializer_range = fields.optional_number("initializer_range").value_or(0.02);
  check_numbers(fields, model);
  if (model.hidden_size % (2 * model.num_attention_heads) != 0) {
    throw core::InputError("{}: hidden_size {} is not an even multiple of num_attention_heads {}",
                           path.string(), model.hidden_size, model.num_attention_heads);
  }
  refuse_other_mathematics(fields, model);
  spec.sequence_length = size_up_to(kMaxLength, fields, "max_position_embeddings");
  spec.document_token_id = own.optional_integer("document_token_id");
  return spec;
}

}  // namespace ssgpt::checkpoint
