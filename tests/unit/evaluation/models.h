// Small checkpoints and token shards for the tests.
#pragma once

#include "config/config.h"
#include "core/message_of.h"
#include "model/parameters.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

// Windows of 11 tokens, as model::small_spec has them.
inline constexpr int64_t kTrainedLength = 11;
inline constexpr int64_t kLong = 4 * kTrainedLength;  // of windows beyond them
inline constexpr int64_t kVocabulary = 37;

// Writes model::small_spec(kind) with random weights, in which every parameter matters.
std::filesystem::path write_checkpoint(const std::filesystem::path& directory, config::AttentionKind kind,
                                       std::optional<int64_t> document_token_id = {});

// The config of a tiny run, named "named", of windows of 16 tokens over 29 symbols.
config::Config settings(config::AttentionKind kind, uint64_t seed);

// A checkpoint of a model of zeros, as a trainer with this config writes it; `trained` false: without its
// state, as a model of others.
std::filesystem::path write_trained(const std::filesystem::path& directory, const config::Config& config,
                                    int64_t step = 7, bool trained = true);

// Tokens below `vocab_size`, without a period that a test could meet.
std::vector<uint16_t> some_tokens(int64_t count, int64_t vocab_size = kVocabulary);

// One shard in nanoGPT's format: uint16 and nothing else.
std::filesystem::path write_tokens(const std::filesystem::path& directory,
                                   const std::vector<uint16_t>& tokens);

}  // namespace ssgpt::evaluation
