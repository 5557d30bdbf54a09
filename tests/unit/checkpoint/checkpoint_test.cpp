// Writing and reading back, and finding damage.
#include "checkpoint/checkpoint.h"

#include "checkpoint/manifest.h"
#include "checkpoint/optimizer_files.h"
#include "checkpoint/snapshots.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"

#include <bit>
#include <fstream>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;
using testing::HasSubstr;

nlohmann::json json_of(const std::filesystem::path& path) {
  return nlohmann::json::parse(core::read_text(path));
}

class CheckpointOfKind : public testing::TestWithParam<AttentionKind> {};

TEST_P(CheckpointOfKind, ReadsBackBitForBit) {
  const TemporaryDirectory directory;
  const Snapshot written = random_snapshot(GetParam());
  write(directory / "c", written);
  EXPECT_TRUE(verify(directory / "c").empty());
  const Snapshot read_back = read(directory / "c", /*with_optimizer=*/true);
  expect_equal_tensors(written.flat, read_back.flat, /*moments=*/true);

  const config::ModelConfig& a = written.spec.config;
  const config::ModelConfig& b = read_back.spec.config;
  EXPECT_EQ(a.attention.kind, b.attention.kind);
  EXPECT_EQ(a.attention.scale_init, b.attention.scale_init);
  EXPECT_EQ(a.attention.bias_init, b.attention.bias_init);
  EXPECT_EQ(a.attention.attn_scale, b.attention.attn_scale);
  EXPECT_EQ(a.attention.floor_scale, b.attention.floor_scale);
  EXPECT_EQ(a.rope_theta, b.rope_theta);
  EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
  EXPECT_EQ(a.initializer_range, b.initializer_range);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(written.spec.sequence_length, read_back.spec.sequence_length);
  EXPECT_EQ(written.spec.document_token_id, read_back.spec.document_token_id);
}
INSTANTIATE_TEST_SUITE_P(Kinds, CheckpointOfKind, testing::ValuesIn(all_kinds()));

TEST(Checkpoint, TheTrainerStateReadsBackBitForBit) {
  const TemporaryDirectory directory;
  Snapshot snapshot = random_snapshot(AttentionKind::kSsmax);
  for (const double odd : {0.1, -0.0, 1e300, std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()}) {
    snapshot.trainer->loss_sums = {1.0, odd};
    snapshot.trainer->tokenizer_fingerprint = "4567def";
    snapshot.trainer->directory = "/a place";
    const auto path = directory / std::to_string(std::bit_cast<uint64_t>(odd));
    write(path, snapshot);
    const TrainerState state = *read_summary(path).trainer;
    EXPECT_EQ(std::bit_cast<uint64_t>(state.loss_sums.at(1)), std::bit_cast<uint64_t>(odd));
    EXPECT_EQ(state.step, snapshot.trainer->step);
    EXPECT_EQ(state.tokens, snapshot.trainer->tokens);
    EXPECT_EQ(state.run_id, snapshot.trainer->run_id);
    EXPECT_EQ(state.tokenizer_fingerprint, "4567def");
    EXPECT_EQ(state.directory, "/a place");
    EXPECT_EQ(state.config, snapshot.trainer->config);
    EXPECT_EQ(state.loss_steps, 3);
    EXPECT_EQ(state.smoothed_loss, snapshot.trainer->smoothed_loss);
    EXPECT_EQ(state.smoothed_weight, snapshot.trainer->smoothed_weight);
    EXPECT_EQ(state.last_line_step, snapshot.trainer->last_line_step);
  }
}

TEST(Checkpoint, AModelWithoutTrainerHasNoTrainerFolder) {
  const TemporaryDirectory directory;
  Snapshot snapshot = random_snapshot(AttentionKind::kSoftmax);
  snapshot.trainer.reset();
  write(directory / "c", snapshot);
  EXPECT_FALSE(std::filesystem::exists(directory / "c" / "trainer"));
  const Snapshot read_back = read(directory / "c", /*with_optimizer=*/true);
  EXPECT_FALSE(read_back.trainer.has_value());
  EXPECT_FALSE(read_back.flat.exp_avg.defined());
}

// Each option of a model alone and together with each kind, and with documents apart.
TEST(Checkpoint, HasTheNameOfTransformersIfAndOnlyIfItsMathematicsIsThat) {
  const TemporaryDirectory directory;
  int number = 0;
  for (const AttentionKind kind : all_kinds()) {
    for (int options = 0; options < 16; ++options) {
      const bool norm = (options & 1) != 0;
      const bool part = (options & 2) != 0;
      const bool nope = (options & 4) != 0;
      const bool documents = (options & 8) != 0;
      model::GPTSpec spec = tiny_spec(kind);
      spec.config.qk_norm = norm ? config::QkNorm::kRms : config::QkNorm::kNone;
      if (part) spec.config.rope_fraction = 1.0 / 3.0;  // two of six dimensions
      if (nope) spec.config.nope_layers.layers = {0, 2};
      if (documents) spec.document_token_id = 3;
      const auto path = directory / std::to_string(++number);
      write(path, random_snapshot(spec));
      const nlohmann::json json = json_of(path / "config.json");
      const bool plain = kind == AttentionKind::kSoftmax && !part && !nope && !documents;
      const std::string type = !plain ? "ssgpt" : norm ? "qwen3" : "llama";
      const std::string prefix = !plain ? "Ssgpt" : norm ? "Qwen3" : "Llama";
      SCOPED_TRACE(json.dump());
      EXPECT_EQ(json["model_type"], type);
      EXPECT_EQ(json["architectures"][0], prefix + "ForCausalLM");
      EXPECT_EQ(json.contains("auto_map"), !plain);
      EXPECT_EQ(std::filesystem::exists(path / "modeling_ssgpt.py"), !plain);
      EXPECT_EQ(json["eos_token_id"], documents ? nlohmann::json(3) : nlohmann::json(nullptr));
      EXPECT_EQ(json["rope_theta"], json["rope_parameters"]["rope_theta"]);
      EXPECT_EQ(json.contains("partial_rotary_factor"), part);
      EXPECT_EQ(json["rope_parameters"].contains("partial_rotary_factor"), part);
      EXPECT_EQ(json.contains("no_rope_layers"), nope);
      if (nope) {
        EXPECT_EQ(json["no_rope_layers"], nlohmann::json({0, 1, 0}));
      }
      EXPECT_EQ(json.contains("qk_norm"), norm && !plain);
      EXPECT_EQ(json.value("head_dim", 6), 6);
      EXPECT_EQ(json.contains("head_dim"), type == "qwen3");  // transformers' own default is another
      const model::GPTSpec found = read_summary(path).spec;
      EXPECT_EQ(found.document_token_id, spec.document_token_id);
      EXPECT_EQ(found.config.attention.kind, kind);
      EXPECT_EQ(found.config.qk_norm, spec.config.qk_norm);
      EXPECT_EQ(found.config.rope_fraction, spec.config.rope_fraction);
      EXPECT_EQ(found.config.nope_layers, spec.config.nope_layers);
      if (!plain) {
        EXPECT_EQ(json["attention_kind"], std::string(config::to_string(kind)));
        EXPECT_THAT(core::read_text(path / "modeling_ssgpt.py"), HasSubstr("class SsgptForCausalLM"));
      }
    }
  }
}

// Also the manifest itself: every byte of the small files, samples of the large ones.
TEST(Checkpoint, AFlippedByteInAnyFileIsFound) {
  const TemporaryDirectory directory;
  write(directory / "c", random_snapshot(AttentionKind::kLearnedPn));
  const auto files = files_below(directory / "c");
  ASSERT_EQ(files.size(), 7U);
  for (const auto& file : files) {
    const uint64_t size = std::filesystem::file_size(file);
    const uint64_t stride = file.filename() == "manifest.json" ? 1 : size / 7 + 1;
    for (uint64_t offset = 0; offset < size; offset += stride) {
      flip_byte(file, offset);
      EXPECT_FALSE(verify(directory / "c").empty()) << file << " byte " << offset;
      EXPECT_THROW(read(directory / "c", true), core::InputError) << file << " byte " << offset;
      flip_byte(file, offset);
    }
  }
  EXPECT_TRUE(verify(directory / "c").empty());
}

TEST(Checkpoint, AMissingOrTruncatedFileIsNamedEvenWithoutChecksums) {
  const TemporaryDirectory directory;
  write(directory / "c", random_snapshot(AttentionKind::kSsmax));
  for (const auto& file : files_below(directory / "c")) {
    const std::string bytes = core::read_text(file);
    const auto expect_named = [&] {
      try {
        read(directory / "c", true, /*verify=*/false);
        ADD_FAILURE() << file;
      } catch (const core::InputError& error) {
        EXPECT_THAT(error.what(), HasSubstr(file.filename().string()));
      }
    };
    write_bytes(file, bytes.substr(0, bytes.size() - 1));
    expect_named();
    std::filesystem::remove(file);
    expect_named();
    write_bytes(file, bytes);
  }
  EXPECT_TRUE(verify(directory / "c").empty());
}

// Removed from the disk and from the manifest: nothing but the trainer state says that it should be there.
TEST(Checkpoint, ATrainerStateWithoutItsMomentsIsDamage) {
  const TemporaryDirectory directory;
  write(directory / "c", random_snapshot(AttentionKind::kSsmax));
  Manifest manifest = read_manifest(directory / "c");
  ASSERT_EQ(manifest.files.erase(optimizer_file_name(0, 1)), 1U);
  write_manifest(directory / "c", manifest);
  for (const bool there : {true, false}) {
    EXPECT_EQ(verify(directory / "c").size(), 1U);
    EXPECT_THROW(read(directory / "c", /*with_optimizer=*/true, /*verify=*/false), core::InputError) << there;
    std::filesystem::remove(directory / "c" / optimizer_file_name(0, 1));
  }
}

TEST(Checkpoint, AFutureFormatVersionIsSaidClearly) {
  const TemporaryDirectory directory;
  write(directory / "c", random_snapshot(AttentionKind::kSsmax));
  std::string manifest = core::read_text(directory / "c" / "manifest.json");
  manifest.replace(manifest.find("\"version\": 1"), 12, "\"version\": 9");
  write_bytes(directory / "c" / "manifest.json", manifest);
  try {
    read_summary(directory / "c");
    FAIL();
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("version 9"));
    EXPECT_THAT(error.what(), HasSubstr("newer"));
  }
}

TEST(Checkpoint, DirectoriesThatAreNoCheckpointAreRefused) {
  const TemporaryDirectory directory;
  EXPECT_THROW(read(directory / "missing", false), core::InputError);
  EXPECT_THROW(read_summary(directory.path()), core::InputError);
  write_bytes(directory / "config.json", "not json");
  write_bytes(directory / "model.safetensors", "not safetensors");
  EXPECT_THROW(read_summary(directory.path()), core::InputError);
}

TEST(Checkpoint, AManifestThatNamesFilesElsewhereIsRefused) {
  const TemporaryDirectory directory;
  write(directory / "c", random_snapshot(AttentionKind::kSoftmax));
  const Manifest sound = read_manifest(directory / "c");
  core::write_text_atomically(directory / "x", "x");
  for (const std::string& name : {std::string("../x"), (directory / "x").string(), std::string("a/../../x"),
                                  std::string("model.safetensors\0", 18)}) {
    Manifest changed = sound;
    changed.files[name] = {.size = 1, .checksum = core::checksum_of_file(directory / "x")};
    write_manifest(directory / "c", changed);
    try {
      read(directory / "c", /*with_optimizer=*/true);
      FAIL() << name;
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("which is no file inside of the checkpoint"));
    }
  }
}

// A file that was changed is said to be damaged, whatever stands in it now.
TEST(Checkpoint, ChecksumsComeBeforeContents) {
  const TemporaryDirectory directory;
  for (const char* name : {"config.json", "trainer/state.json"}) {
    const auto path = directory / std::string(name).substr(0, 4);
    write(path, random_snapshot(AttentionKind::kSoftmax));
    const std::string text = core::read_text(path / name);
    core::write_text_atomically(path / name, std::string(text.size(), '['));
    for (const bool whole : {false, true}) {
      try {
        whole ? static_cast<void>(read(path, /*with_optimizer=*/true))
              : static_cast<void>(read_summary(path));
        FAIL() << name;
      } catch (const core::InputError& error) {
        EXPECT_THAT(error.what(), testing::AllOf(HasSubstr(name), HasSubstr("checksum"))) << name;
      }
    }
  }
}

}  // namespace
}  // namespace ssgpt::checkpoint
