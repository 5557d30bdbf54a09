// Files for the tests, built byte by byte from the formats' definitions and not with the code under test.
#pragma once

#include "core/message_of.h"
#include "core/temporary_directory.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::data::testing {

void write_file(const std::filesystem::path& path, std::string_view bytes);
std::string read_file(const std::filesystem::path& path);

// Name and bytes of each file of a folder.
std::map<std::string, std::string> files_of(const std::filesystem::path& folder);

// The value's bytes, least significant first.
std::string little_endian(uint64_t value, int num_bytes);

// llm.c's format: 256 int32 of header (magic, version, count), then the tokens.
std::string llmc_file(int32_t magic, int32_t version, int32_t count, const std::vector<uint32_t>& tokens,
                      int token_bytes);

// `count` tokens of a fixed pattern, each below `limit`.
std::vector<uint32_t> pattern_tokens(size_t count, uint32_t limit);

std::string zstd_frame(std::string_view text);

// Text made of words from a seed: num_lines lines, a blank line after every fifth.
std::string make_text(uint64_t seed, int num_lines);

// A tokenizer of 600 pieces trained on make_text, written into the folder; returns its path.
std::filesystem::path write_tokenizer(const TemporaryDirectory& folder);

}  // namespace ssgpt::data::testing
