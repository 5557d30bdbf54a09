// Llama directories that another program wrote: config.json and model.safetensors, no manifest.
#include "checkpoint/checkpoint.h"
#include "checkpoint/snapshots.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;
using testing::HasSubstr;

// A checkpoint of ours stripped to what transformers writes, with `changes` merged into config.json (null
// removes).
void write_foreign(const std::filesystem::path& path, const nlohmann::json& changes) {
  Snapshot snapshot = random_snapshot(AttentionKind::kSoftmax);
  snapshot.trainer.reset();
  write(path, snapshot);
  std::filesystem::remove(path / "manifest.json");
  nlohmann::json json = nlohmann::json::parse(core::read_text(path / "config.json"));
  json.erase("ssgpt");
  json.merge_patch(changes);
  write_bytes(path / "config.json", json.dump());
}

TEST(ForeignModel, APlainLlamaIsReadAsAModelWithoutTrainer) {
  const TemporaryDirectory directory;
  write_foreign(directory / "c", {{"rope_parameters", nullptr}, {"torch_dtype", nullptr}});
  const Snapshot snapshot = read(directory / "c", /*with_optimizer=*/true);
  EXPECT_FALSE(snapshot.trainer.has_value());
  EXPECT_EQ(snapshot.spec.config.attention.kind, AttentionKind::kSoftmax);
  EXPECT_EQ(snapshot.spec.config.rope_theta, 10000.0 / 3.0);
  expect_equal_tensors(snapshot.flat, random_snapshot(AttentionKind::kSoftmax).flat, /*moments=*/false);
}

TEST(ForeignModel, Bfloat16TensorsAreWidened) {
  const TemporaryDirectory directory;
  write_foreign(directory / "c", nlohmann::json::object());
  const Snapshot original = random_snapshot(AttentionKind::kSoftmax);
  nlohmann::json header;
  std::string data;
  for (const model::Parameter& parameter : original.flat.layout) {
    const size_t begin = data.size();
    for (const uint32_t bits : bits_of(original.flat.master, parameter)) {
      data.push_back(static_cast<char>(bits >> 16));
      data.push_back(static_cast<char>(bits >> 24));
    }
    header[parameter.spec.name] = {
        {"dtype", "BF16"}, {"shape", parameter.spec.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t size = text.size();
  std::string prefix(sizeof(size), '\0');
  std::memcpy(prefix.data(), &size, sizeof(size));
  write_bytes(directory / "c" / "model.safetensors", prefix + text + data);

  const Snapshot snapshot = read(directory / "c", false);
  for (const model::Parameter& parameter : snapshot.flat.layout) {
    std::vector<uint32_t> expected = bits_of(original.flat.master, *find(original.flat, parameter.spec.name));
    for (uint32_t& bits : expected) {
      bits &= 0xffff0000U;
    }
    EXPECT_EQ(bits_of(snapshot.flat.master, parameter), expected) << parameter.spec.name;
  }
}

// The config of this program's own model, with `changes`.
nlohmann::json own(nlohmann::json changes) {
  changes["model_type"] = "ssgpt";
  changes["attention_kind"] = "softmax";
  return changes;
}

// The config of a Qwen 3, with `changes`.
nlohmann::json qwen3(const nlohmann::json& changes) {
  nlohmann::json all = {{"model_type", "qwen3"}, {"head_dim", 6}};
  all.update(changes);
  return all;
}

// At the top, in rope_parameters (transformers 5) and in rope_scaling (4), alone or in several of them.
TEST(ForeignModel, ThetaAndTheRotatedPartAreReadWhereverTransformersPutsThem) {
  const nlohmann::json nothing = {{"rope_theta", nullptr}, {"rope_parameters", nullptr}};
  const nlohmann::json both = {{"rope_theta", 5000.0}, {"partial_rotary_factor", 1.0 / 3.0}};
  const auto with = [&](const nlohmann::json& changes) {
    nlohmann::json all = own(nothing);
    all.update(changes);
    return all;
  };
  for (const nlohmann::json& changes :
       {with(both), with({{"rope_parameters", both}}), with({{"rope_scaling", both}}),
        with({{"rope_scaling", {{"type", "default"}, {"partial_rotary_factor", 1.0 / 3.0}}},
              {"rope_theta", 5000}}),
        with({{"rope_theta", 5000.0}, {"rope_parameters", both}, {"rope_scaling", both}})}) {
    const TemporaryDirectory directory;
    write_foreign(directory / "c", changes);
    const model::GPTSpec spec = read_summary(directory / "c").spec;
    EXPECT_EQ(spec.config.rope_theta, 5000.0) << changes;
    EXPECT_EQ(spec.config.rope_fraction, 1.0 / 3.0) << changes;
  }
  const TemporaryDirectory directory;
  write_foreign(directory / "c", with(nlohmann::json::object()));
  EXPECT_EQ(read_summary(directory / "c").spec.config.rope_theta, 10000.0);
  EXPECT_EQ(read_summary(directory / "c").spec.config.rope_fraction, 1.0);
}

// If no window is used, its size does not matter, as in the files of Qwen 3.
TEST(ForeignModel, AQwen3IsReadAsAModelWithNormedQueriesAndKeys) {
  const TemporaryDirectory directory;
  model::GPTSpec spec = tiny_spec(AttentionKind::kSoftmax);
  spec.config.qk_norm = config::QkNorm::kRms;
  Snapshot snapshot = random_snapshot(spec);
  snapshot.trainer.reset();
  write(directory / "c", snapshot);
  std::filesystem::remove(directory / "c" / "manifest.json");
  nlohmann::json json = nlohmann::json::parse(core::read_text(directory / "c" / "config.json"));
  json.erase("ssgpt");
  const nlohmann::json full = {"full_attention", "full_attention", "full_attention"};
  for (const nlohmann::json& windows : std::vector<nlohmann::json>{
           {{"sliding_window", 4096},
            {"use_sliding_window", false},
            {"max_window_layers", 0},
            {"layer_types", full}},
           {{"sliding_window", 4}, {"use_sliding_window", true}, {"max_window_layers", 3}},
           {{"sliding_window", 4}, {"use_sliding_window", true}},  // from layer 28 on
           {{"use_sliding_window", true}},
           {{"sliding_window", nullptr}, {"use_sliding_window", true}, {"max_window_layers", 0}},
           {{"use_sliding_window", true}, {"max_window_layers", 0}, {"layer_types", full}}}) {
    nlohmann::json changed = json;
    changed.erase("use_sliding_window");
    changed.update(windows);
    write_bytes(directory / "c" / "config.json", changed.dump());
    const Snapshot found = read(directory / "c", /*with_optimizer=*/false);
    EXPECT_EQ(found.spec.config.qk_norm, config::QkNorm::kRms) << windows;
    EXPECT_EQ(found.spec.config.attention.kind, AttentionKind::kSoftmax) << windows;
    expect_equal_tensors(found.flat, snapshot.flat, /*moments=*/false);
  }
}

TEST(ForeignModel, OtherMathematicsIsRefusedWithTheReason) {
  const std::vector<std::pair<nlohmann::json, std::string>> cases = {
      {{{"num_key_value_heads", 1}},
       "'num_key_value_heads' is 1, where 2 is expected: as many as num_attention_heads"},
      {{{"tie_word_embeddings", true}},
       "'tie_word_embeddings' is true, where false is expected: input and output"},
      {{{"attention_bias", true}}, "'attention_bias' is true, where false is expected: linear layers"},
      {{{"mlp_bias", true}}, "'mlp_bias' is true, where false"},
      {{{"model_type", "gpt2"}}, "model_type is 'gpt2'; 'llama', 'qwen3' and 'ssgpt' can be read"},
      {{{"hidden_act", "gelu"}}, "'hidden_act' is \"gelu\", where silu is expected"},
      {{{"head_dim", 4}}, "'head_dim' is 4, where 6 is expected: hidden_size / num_attention_heads"},
      {{{"sliding_window", 8}}, "'sliding_window' is 8, where null is expected: attention reaches back"},
      {{{"layer_types", {"full_attention", "full_attention", "sliding_attention"}}},
       "\"sliding_attention\"], where full_attention for every layer is expected: attention reaches back"},
      {{{"layer_types", {"full_attention"}}}, "where a list of 3 texts is expected: one for each layer"},
      {{{"layer_types", "full_attention"}}, "a list of texts"},
      {{{"quantization_config", {{"bits", 4}}}},
       "'quantization_config' is {\"bits\":4}, where none is expected"},
      {{{"rope_parameters", {{"rope_type", "llama3"}}}},
       "'rope_parameters.rope_type' is \"llama3\", where 'default' "
       "is expected: scaled RoPE is not supported"},
      {{{"rope_parameters", {{"type", "yarn"}}}}, "'rope_parameters.type' is \"yarn\""},
      {{{"rope_parameters", {{"full_attention", {{"rope_theta", 5.0}}}}}}, "rope_parameters.full_attention"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}, "'rope_scaling.type' is \"linear\""},
      {{{"rope_scaling", {{"factor", 2.0}}}}, "'rope_scaling.factor' is 2.0, where none"},
      {{{"rope_theta", 5.0}}, "make them equal"},
      {{{"rope_scaling", {{"rope_type", "default"}, {"rope_theta", 5.0}}}}, "make them equal"},
      {{{"partial_rotary_factor", 0.5}},
       "partial_rotary_factor is 0.5, which transformers' 'llama' does not read; it must be 1."},
      {{{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}, "transformers' 'llama' does not read"},
      {{{"rope_scaling", {{"type", "default"}, {"partial_rotary_factor", 0.5}}}}, "must be 1."},
      {{{"no_rope_layers", {1, 0, 1}}},
       "'no_rope_layers' is [1,0,1], where none is expected: transformers' 'llama' does not read it"},
      {{{"no_rope_layer_interval", 4}}, "'no_rope_layer_interval' is 4, where none is expected"},
      {{{"vocab_size", nullptr}}, "vocab_size"},
      {{{"vocab_size", "many"}}, "vocab_size"},
      {{{"hidden_size", 13}}, "hidden_size"},
      {{{"vocab_size", 1'000'000'000'000'000}}, "vocab_size"},
      {{{"vocab_size", 16'000'000}}, "model.embed_tokens.weight"},
      {{{"num_hidden_layers", 100'000'000}}, "num_hidden_layers"},
      {{{"num_hidden_layers", 9'999}}, "model.layers.3"},
      {{{"intermediate_size", 1'000'000'000}}, "intermediate_size"},
      {{{"max_position_embeddings", 1'000'000'000'000}}, "max_position_embeddings"},
      {{{"rope_parameters", nullptr}, {"rope_theta", 0.0}}, "rope_theta"},
      {{{"rope_parameters", nullptr}, {"rope_theta", "inf"}}, "rope_theta"},
      {{{"rms_norm_eps", -1e-5}}, "rms_norm_eps"},
      {{{"rms_norm_eps", "nan"}}, "rms_norm_eps"},
      {{{"num_hidden_layers", 4}}, "model.layers.3"},
      {{{"num_hidden_layers", 2}}, "model.layers.2"},
      {{{"intermediate_size", 24}}, "shape"},
      {{{"model_type", "ssgpt"}}, "attention_kind"},
      {{{"model_type", "ssgpt"}, {"attention_kind", "sharp"}}, "sharp"},
      {qwen3(nlohmann::json::object()), "model.layers.0.self_attn.q_norm.weight' is missing"},
      {qwen3({{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 2}}),
       "'sliding_window' is 8, where null is expected: attention reaches back to the start, also in the "
       "layers from max_window_layers, 2, on"},
      {qwen3({{"use_sliding_window", true}, {"max_window_layers", 0}}),
       "'sliding_window' is missing, where null is expected: attention reaches back to the start, also in "
       "the layers from max_window_layers, 0, on; where the key is missing, transformers' 'qwen3' has 4096"},
      {qwen3({{"use_sliding_window", true}, {"num_hidden_layers", 29}}),
       "'sliding_window' is missing, where null is expected: attention reaches back to the start, also in "
       "the layers from max_window_layers, 28, on"},
      {qwen3({{"use_sliding_window", true}, {"num_hidden_layers", 28}}), "q_norm.weight' is missing"},
      {qwen3({{"head_dim", nullptr}}),
       "'head_dim' is missing, where 6 is expected: hidden_size / num_attention_heads; where the key is "
       "missing, transformers' 'qwen3' has 128"},
      {qwen3({{"num_key_value_heads", nullptr}}),
       "'num_key_value_heads' is missing, where 2 is expected: as many as num_attention_heads, since there "
       "is no grouped-query attention; where the key is missing, transformers' 'qwen3' has 32"},
      {qwen3({{"attention_bias", true}}), "'attention_bias' is true"},
      {qwen3({{"partial_rotary_factor", 0.5}}), "transformers' 'qwen3' does not read"},
      {own({{"qk_norm", "layer"}}), "'qk_norm' is \"layer\", where none or rms is expected"},
      {own({{"qk_norm", "rms"}}), "model.layers.0.self_attn.q_norm.weight' is missing"},
      {own({{"partial_rotary_factor", 0.5}}), "'partial_rotary_factor' is 0.5; of head_dim 6 it must make"},
      {own({{"partial_rotary_factor", 0.0}}), "'partial_rotary_factor' is 0; of head_dim 6"},
      {own({{"partial_rotary_factor", 2.0}}), "'partial_rotary_factor' is 2; of head_dim 6"},
      {own({{"no_rope_layers", {1, 0}}}), "'no_rope_layers' is [1,0], where a list of 3 flags"},
      {own({{"no_rope_layers", {1, 2, 0}}}), "'no_rope_layers' is [1,2,0], where a list of 3 flags"},
      {own({{"no_rope_layers", "all"}}), "a list of numbers"},
  };
  for (const auto& [changes, reason] : cases) {
    const TemporaryDirectory directory;
    write_foreign(directory / "c", changes);
    try {
      read(directory / "c", false);
      ADD_FAILURE() << "was read: " << changes;
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason)) << changes;
      EXPECT_THAT(error.what(), HasSubstr(directory.path().string())) << changes;
    }
  }
}

TEST(ForeignModel, SplitAndPickledModelsAreRefusedWithAdvice) {
  for (const auto& [name, advice] : {std::pair("model.safetensors.index.json", "max_shard_size"),
                                     {"pytorch_model.bin", "safe_serialization"}}) {
    const TemporaryDirectory directory;
    write_foreign(directory / "c", nlohmann::json::object());
    std::filesystem::rename(directory / "c" / "model.safetensors", directory / "c" / name);
    try {
      read(directory / "c", false);
      ADD_FAILURE() << name;
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(advice));
    }
  }
}

}  // namespace
}  // namespace ssgpt::checkpoint
