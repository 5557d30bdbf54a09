// The header of llm.c's token files (dev/data/data_common.py, llmc/dataloader.h): 256 int32, the first three
// being magic, version and number of tokens; uint16 or uint32 tokens follow. All little-endian.
#pragma once

#include "core/file.h"

#include <array>
#include <cstdint>
#include <limits>

namespace ssgpt::data::llmc {

inline constexpr int32_t kMagic16 = 20240520;
inline constexpr int32_t kVersion16 = 1;
inline constexpr int32_t kMagic32 = 20240801;
inline constexpr int32_t kVersion32 = 7;
inline constexpr uint64_t kHeaderBytes = 256 * sizeof(int32_t);
inline constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();  // the count is an int32

using Header = std::array<int32_t, 256>;

// `token_bytes` is 2 or 4.
Header make_header(int token_bytes, int64_t num_tokens);

// Returns the number of tokens in `file`, whose magic implies `token_bytes`. Throws core::InputError for
// another version, for zero tokens, and if the file's size does not match the count.
int64_t check_header(const core::InputFile& file, int token_bytes);

}  // namespace ssgpt::data::llmc
