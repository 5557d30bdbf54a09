// The tokenizer's files of a checkpoint: made once, and made anew where the tokenizer is another one.

#include "checkpoint/tokenizer_files.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/directory.h"
#include "checkpoint/manifest.h"
#include "checkpoint/model_config.h"
#include "checkpoint/snapshots.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "tokenizer/small_tokenizer.h"

#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

using ::testing::HasSubstr;
using tokenizer::testing::train_small_tokenizer;

TEST(TokenizerFiles, AreMadeOnceForATokenizer) {
  const TemporaryDirectory folder;
  train_small_tokenizer(folder / "t.model", 290);
  const auto first = read_tokenizer_files(folder / "t.model", "");
  EXPECT_EQ(first->model, core::read_text(folder / "t.model"));
  ASSERT_TRUE(first->hugging_face.has_value());
  EXPECT_EQ(read_tokenizer_files(folder / "t.model", core::checksum_of_file(folder / "t.model")), first);
  train_small_tokenizer(folder / "t.model", 291);
  const auto second = read_tokenizer_files(folder / "t.model", "");
  EXPECT_EQ(nlohmann::json::parse(second->hugging_face->tokenizer).at("model").at("vocab").size(), 291U);
}

TEST(TokenizerFiles, OfAnotherTokenizerThanTheRunsAreRefused) {
  const TemporaryDirectory folder;
  train_small_tokenizer(folder / "t.model", 290);
  const std::string fingerprint = core::checksum_of_file(folder / "t.model");
  read_tokenizer_files(folder / "t.model", fingerprint);
  train_small_tokenizer(folder / "t.model", 291);
  try {
    read_tokenizer_files(folder / "t.model", fingerprint);
    ADD_FAILURE() << "accepted";
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr(fingerprint));
  }
  std::filesystem::remove(folder / "t.model");
  EXPECT_THROW(read_tokenizer_files(folder / "t.model", fingerprint), core::Error);
}

TEST(TokenizerFiles, OfACheckpointAreInItsManifest) {
  const TemporaryDirectory folder;
  train_small_tokenizer(folder / "t.model", 290);
  Snapshot snapshot = random_snapshot(config::AttentionKind::kSsmax);
  snapshot.tokenizer = folder / "t.model";
  snapshot.trainer->tokenizer_fingerprint = core::checksum_of_file(folder / "t.model");
  write(folder / "c", snapshot);
  for (const char* name :
       {kGenerationConfigName, kTokenizerName, kHuggingFaceTokenizerName, kHuggingFaceTokenizerConfigName}) {
    EXPECT_TRUE(read_manifest(folder / "c").files.contains(name)) << name;
    flip_byte(folder / "c" / name, 5);
    EXPECT_EQ(verify(folder / "c").size(), 1U) << name;
    flip_byte(folder / "c" / name, 5);
  }
  EXPECT_TRUE(verify(folder / "c").empty());
}

// A text begins behind the end of another: transformers' generate() takes bos_token_id for that.
TEST(GenerationConfig, BeginsATextWhereTheModelSawOneBegin) {
  const auto config_of = [](const SpecialTokens& tokens) {
    return nlohmann::json::parse(generation_config_text(tokens));
  };
  EXPECT_EQ(config_of({.bos = 1, .eos = 2, .padding = 1}),
            nlohmann::json({{"bos_token_id", 2}, {"eos_token_id", 2}, {"pad_token_id", 1}}));
  EXPECT_EQ(config_of({.bos = std::nullopt, .eos = 7, .padding = std::nullopt}),
            nlohmann::json({{"bos_token_id", 7}, {"eos_token_id", 7}, {"pad_token_id", 7}}));
  EXPECT_EQ(
      config_of({}),
      nlohmann::json({{"bos_token_id", nullptr}, {"eos_token_id", nullptr}, {"pad_token_id", nullptr}}));
}

}  // namespace
}  // namespace ssgpt::checkpoint
