// Small snapshots with random contents, and comparisons bit for bit.
#pragma once

#include "checkpoint/state.h"

#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::checkpoint {

model::GPTSpec tiny_spec(config::AttentionKind kind);

// Every element random, so that one that went elsewhere is seen; odd values in the trainer's doubles.
Snapshot random_snapshot(config::AttentionKind kind, int64_t step = 7, uint64_t seed = 1);
Snapshot random_snapshot(const model::GPTSpec& spec, int64_t step = 7, uint64_t seed = 1);

// The elements of `parameter` in `flat`, as bits.
std::vector<uint32_t> bits_of(const at::Tensor& flat, const model::Parameter& parameter);
const model::Parameter* find(const FlatState& flat, const std::string& name);  // null where there is none

// Expects equal names, shapes and bits, moments included where `moments` is set.
void expect_equal_tensors(const FlatState& a, const FlatState& b, bool moments);

void flip_byte(const std::filesystem::path& path, uint64_t offset);
void write_bytes(const std::filesystem::path& path, const std::string& bytes);
std::vector<std::filesystem::path> files_below(const std::filesystem::path& directory);

const std::vector<config::AttentionKind>& all_kinds();

}  // namespace ssgpt::checkpoint
