#include "checkpoint/model_config.h"

#include "checkpoint/modeling_file.h"
#include "core/check.h"
#include "core/error.h"
#include "core/json.h"
#include "core/json_fields.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

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

constexpr std::string_view kLlama = "llama";
constexpr std::string_view kQwen3 = "qwen3";

std::string read_type(const core::JsonFields& fields) {
  std::string type = fields.text("model_type");
  if (type != kLlama && type != kQwen3 && type != kOwnModelType) {
    throw core::InputError("{}: model_type is '{}'; '{}', '{}' and '{}' can be read", fields.path().string(),
                           core::excerpt(type), kLlama, kQwen3, kOwnModelType);
  }
  return type;
}

config::AttentionKind read_kind(const core::JsonFields& fields) {
  const std::string name = fields.text("attention_kind");
  const auto kind = config::parse_attention_kind(name);
  if (!kind) {
    throw core::InputError("{}: attention_kind '{}' is not one of {}", fields.path().string(),
                           core::excerpt(name), fmt::join(config::attention_kind_names(), ", "));
  }
  return *kind;
}

config::QkNorm read_qk_norm(const core::JsonFields& fields) {
  const auto name = fields.optional_text("qk_norm");
  if (!name) return config::QkNorm::kNone;
  std::vector<std::string_view> names;
  for (const config::QkNorm norm : config::kQkNorms) {
    names.push_back(config::to_string(norm));
    if (name == names.back()) return norm;
  }
  fields.fail("qk_norm", fmt::format("{}", fmt::join(names, " or ")));
}

// The places where versions of transformers have put what RoPE is made with: at the top, in rope_parameters
// (5) and in rope_scaling (4).
class RopeFields {
 public:
  explicit RopeFields(const core::JsonFields& fields)
      : top_(fields), nested_{fields.object("rope_parameters"), fields.object("rope_scaling")} {}

  // The number under `key`, wherever it stands; those that stand in several places are equal.
  std::optional<double> number(const std::string& key) const {
    std::optional<double> value = top_.optional_number(key);
    std::string where = key;
    for (size_t i = 0; i < nested_.size(); ++i) {
      const std::optional<double> other = nested_[i].optional_number(key);
      const std::string place = fmt::format("{}.{}", kNames[i], key);
      if (value && other && *value != *other) {
        throw core::InputError("{}: {} is {} but {} is {}: make them equal", top_.path().string(), where,
                               *value, place, *other);
      }
      if (other && !value) where = place;
      if (other) value = other;
    }
    return value;
  }

  void refuse_scaled() const {
    for (size_t i = 0; i < nested_.size(); ++i) {
      for (const char* key : {"full_attention", "sliding_attention"}) {
        if (nested_[i].has(key)) nested_[i].fail(key, "none", "RoPE is the same for all layers");
      }
      for (const char* key : {"rope_type", "type"}) {
        if (nested_[i].optional_text(key).value_or("default") != "default")
          nested_[i].fail(key, "'default'", kNotScaled);
      }
      const bool says_type = nested_[i].has("rope_type") || nested_[i].has("type");
      if (nested_[i].has("factor") && !says_type) nested_[i].fail("factor", "none", kNotScaled);
    }
  }

 private:
  static constexpr std::array kNames = {"rope_parameters", "rope_scaling"};
  static constexpr std::string_view kNotScaled = "scaled RoPE is not supported";
  const core::JsonFields& top_;
  std::array<core::JsonFields, 2> nested_;
};

// The layers whose flag is 0: Hugging Face's no_rope_layers holds 1 for a layer that is rotated.
std::vector<int64_t> read_nope_layers(const core::JsonFields& fields, int64_t num_layers) {
  constexpr const char* kKey = "no_rope_layers";
  std::vector<int64_t> layers;
  if (!fields.has(kKey)) return layers;
  const std::vector<double> flags = fields.numbers(kKey);
  const bool sound = std::all_of(flags.begin(), flags.end(), [](double f) { return f == 0.0 || f == 1.0; });
  if (!sound || static_cast<int64_t>(flags.size()) != num_layers)
    fields.fail(kKey, fmt::format("a list of {}", core::counted(num_layers, "flag")),
                "1 for a layer with RoPE and 0 for one without");
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    if (flags[static_cast<size_t>(layer)] == 0.0) layers.push_back(layer);
  }
  return layers;
}

// Theta, and what `type` says of the norms and of which dimensions and layers are rotated.
void read_positions(const core::JsonFields& fields, std::string_view type, config::ModelConfig& model) {
  const RopeFields rope(fields);
  rope.refuse_scaled();
  model.rope_theta = rope.number("rope_theta").value_or(10000.0);
  const double fraction = rope.number("partial_rotary_factor").value_or(1.0);
  if (type == kOwnModelType) {
    model.rope_fraction = fraction;
    model.qk_norm = read_qk_norm(fields);
    model.nope_layers.layers = read_nope_layers(fields, model.num_hidden_layers);
    return;
  }
  model.qk_norm = type == kQwen3 ? config::QkNorm::kRms : config::QkNorm::kNone;
  if (fraction != 1.0) {  // their code rotates all dimensions whatever it is
    throw core::InputError(
        "{}: partial_rotary_factor is {}, which transformers' '{}' does not read; it must be 1. Partial RoPE "
        "needs model_type '{}'",
        fields.path().string(), fraction, type, kOwnModelType);
  }
  for (const char* key : {"no_rope_layers", "no_rope_layer_interval"}) {
    if (fields.has(key))
      fields.fail(key, "none",
                  fmt::format("transformers' '{}' does not read it, and model_type '{}' has no_rope_layers",
                              type, kOwnModelType));
  }
}

// Defaults of transformers' Qwen3Config for missing keys.
constexpr int64_t kQwen3KeyValueHeads = 32;
constexpr int64_t kQwen3HeadDim = 128;
constexpr int64_t kQwen3Window = 4096;
constexpr int64_t kQwen3FirstLayerWithWindow = 28;

bool is_missing(const core::JsonFields& fields, const std::string& key) {
  return !fields.has(key) && !fields.is_null(key);
}

std::string with_default(std::string_view reason, int64_t value) {
  return fmt::format("{}; where the key is missing, transformers' '{}' has {}", reason, kQwen3, value);
}

// Which layers have a window says layer_types, and where that is missing, in a Qwen 3 max_window_layers.
void refuse_windows(const core::JsonFields& fields, std::string_view type, int64_t num_layers) {
  constexpr std::string_view kReason = "attention reaches back to the start";
  if (fields.has("layer_types")) {
    const std::vector<std::string> layers = fields.texts("layer_types");
    if (static_cast<int64_t>(layers.size()) != num_layers)
      fields.fail("layer_types", fmt::format("a list of {}", core::counted(num_layers, "text")),
                  "one for each layer");
    for (const std::string& layer : layers) {
      if (layer != "full_attention") fields.fail("layer_types", "full_attention for every layer", kReason);
    }
  }
  if (type != kQwen3) {
    if (fields.has("sliding_window")) fields.fail("sliding_window", "null", kReason);
    return;
  }
  const bool uses_windows = fields.optional_flag("use_sliding_window").value_or(false);
  if (!uses_windows || fields.has("layer_types") || fields.is_null("sliding_window")) return;
  const int64_t first = fields.optional_integer("max_window_layers").value_or(kQwen3FirstLayerWithWindow);
  if (first >= num_layers) return;
  const std::string reason =
      fmt::format("{}, also in the layers from max_window_layers, {}, on", kReason, first);
  fields.fail("sliding_window", "null",
              is_missing(fields, "sliding_window") ? with_default(reason, kQwen3Window) : reason);
}

void refuse_other_mathematics(const core::JsonFields& fields, std::string_view type,
                              const config::ModelConfig& model) {
  // Null, and a missing key of another type, stand for what follows from the sizes.
  const auto require = [&](const char* key, int64_t value, int64_t of_qwen3, std::string_view reason) {
    const bool has_default = type == kQwen3 && is_missing(fields, key);
    const int64_t found = has_default ? of_qwen3 : fields.optional_integer(key).value_or(value);
    if (found != value)
      fields.fail(key, fmt::format("{}", value),
                  has_default ? with_default(reason, of_qwen3) : std::string(reason));
  };
  require("num_key_value_heads", model.num_attention_heads, kQwen3KeyValueHeads,
          "as many as num_attention_heads, since there is no grouped-query attention");
  require("head_dim", config::head_dim(model), kQwen3HeadDim, "hidden_size / num_attention_heads");
  if (fields.optional_flag("tie_word_embeddings").value_or(false))
    fields.fail("tie_word_embeddings", "false", "input and output embeddings are not tied");
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    if (fields.optional_flag(bias).value_or(false))
      fields.fail(bias, "false", "linear layers have no biases");
  }
  if (fields.optional_text("hidden_act").value_or("silu") != "silu") fields.fail("hidden_act", "silu");
  if (fields.has("quantization_config"))
    fields.fail("quantization_config", "none", "weights are floating-point numbers");
  refuse_windows(fields, type, model.num_hidden_layers);
  if (!config::rotated_dims(model.rope_fraction, config::head_dim(model))) {
    throw core::InputError(
        "{}: 'partial_rotary_factor' is {}; of head_dim {} it "
        "must make an even number of dimensions, 2 or more",
        fields.path().string(), model.rope_fraction, config::head_dim(model));
  }
}

// Far beyond any model, and small enough that no product of them overflows.
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
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

// Adds the options that a Llama does not have, if they are set.
void add_options(const config::ModelConfig& model, std::string_view type, nlohmann::ordered_json& json) {
  if (model.rope_fraction != 1.0) {
    json["partial_rotary_factor"] = model.rope_fraction;
    json["rope_parameters"]["partial_rotary_factor"] = model.rope_fraction;
  }
  if (!model.nope_layers.layers.empty()) {
    json["no_rope_layers"] = nlohmann::ordered_json::array();
    for (int64_t layer = 0; layer < model.num_hidden_layers; ++layer)
      json["no_rope_layers"].push_back(config::is_rotated(model, layer) ? 1 : 0);
  }
  if (type == kOwnModelType && model.qk_norm != config::QkNorm::kNone)
    json["qk_norm"] = config::to_string(model.qk_norm);
}

}  // namespace

std::string_view model_type(const model::GPTSpec& spec) {
  const config::ModelConfig& model = spec.config;
  const bool rotates_all = model.rope_fraction == 1.0 && model.nope_layers.layers.empty();
  if (config::has_row_scale(model.attention.kind) || spec.document_token_id || !rotates_all)
    return kOwnModelType;
  return model.qk_norm == config::QkNorm::kRms ? kQwen3 : kLlama;
}

std::string model_config_text(const model::GPTSpec& spec, const SpecialTokens& tokens) {
  const config::ModelConfig& model = spec.config;
  SSGPT_CHECK(!spec.rope_change.yarn && spec.rope_change.score_factor == 1.0 && !spec.trained_length,
              "a checkpoint of a model whose positions were changed for an evaluation");
  const std::string_view type = model_type(spec);
  nlohmann::ordered_json json;
  json["architectures"] = {type == kLlama   ? "LlamaForCausalLM"
                           : type == kQwen3 ? "Qwen3ForCausalLM"
                                            : "SsgptForCausalLM"};
  json["model_type"] = type;
  if (type == kOwnModelType) {
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
  if (type == kQwen3) {  // its own would be 128
    json["head_dim"] = config::head_dim(model);
    json["use_sliding_window"] = false;
  }
  json["max_position_embeddings"] = spec.sequence_length;
  json["hidden_act"] = "silu";
  json["rms_norm_eps"] = model.rms_norm_eps;
  json["rope_theta"] = model.rope_theta;
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", model.rope_theta}};
  add_options(model, type, json);
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

std::string generation_config_text(const SpecialTokens& tokens) {
  const nlohmann::ordered_json json = {
      {"bos_token_id", or_null(tokens.eos)},
      {"eos_token_id", or_null(tokens.eos)},
      {"pad_token_id", or_null(tokens.padding ? tokens.padding : tokens.eos)}};
  return core::json_text(json, 2) + "\n";
}

model::GPTSpec read_model_config(const std::filesystem::path& path) {
  const core::JsonFields fields(path);
  const core::JsonFields own = fields.object("ssgpt");
  model::GPTSpec spec;
  config::ModelConfig& model = spec.config;
  const std::string type = read_type(fields);
  if (type == kOwnModelType) model.attention.kind = read_kind(fields);
  model.attention.scale_init = own.optional_number("scale_init");
  model.attention.bias_init = own.optional_number("bias_init").value_or(0.0);
  if (config::has_floor(model.attention.kind)) {
    model.attention.attn_scale = fields.optional_number("attn_scale");
    model.attention.floor_scale = fields.optional_integer("floor_scale");
  }
  model.vocab_size = size_up_to(kMaxVocabulary, fields, "vocab_size");
  model.hidden_size = size_up_to(kMaxWidth, fields, "hidden_size");
  model.num_hidden_layers = size_up_to(config::kMaxLayers, fields, "num_hidden_layers");
  model.num_attention_heads = size_up_to(kMaxWidth, fields, "num_attention_heads");
  model.intermediate_size = size_up_to(kMaxWidth, fields, "intermediate_size");
  read_positions(fields, type, model);
  // Where a key may be missing, its value is that of transformers' LlamaConfig and Qwen3Config.
  model.rms_norm_eps = fields.optional_number("rms_norm_eps").value_or(1e-6);
  model.initializer_range = fields.optional_number("initializer_range").value_or(0.02);
  check_numbers(fields, model);
  if (model.hidden_size % (2 * model.num_attention_heads) != 0) {
    throw core::InputError("{}: hidden_size {} is not an even multiple of num_attention_heads {}",
                           path.string(), model.hidden_size, model.num_attention_heads);
  }
  refuse_other_mathematics(fields, type, model);
  model.rope_fraction = config::exact_fraction(model.rope_fraction, config::head_dim(model));
  spec.sequence_length = size_up_to(kMaxLength, fields, "max_position_embeddings");
  spec.document_token_id = own.optional_integer("document_token_id");
  return spec;
}

}  // namespace ssgpt::checkpoint
