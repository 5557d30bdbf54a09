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

TEST(ForeignModel, OtherMathematicsIsRefusedWithTheReason) {
  const std::vector<std::pair<nlohmann::json, std::string>> cases = {
      {{{"num_key_value_heads", 1}}, "grouped-query"},
      {{{"tie_word_embeddings", true}}, "tied"},
      {{{"attention_bias", true}}, "attention_bias"},
      {{{"mlp_bias", true}}, "mlp_bias"},
      {{{"model_type", "gpt2"}}, "gpt2"},
      {{{"hidden_act", "gelu"}}, "gelu"},
      {{{"head_dim", 4}}, "head_dim"},
      {{{"rope_parameters", {{"rope_type", "llama3"}}}}, "llama3"},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}, "RoPE"},
      {{{"rope_theta", 5.0}}, "make them equal"},
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
