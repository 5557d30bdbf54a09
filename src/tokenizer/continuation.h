// The tokens of a text that goes on where another ends. A tokenizer that puts a blank before every text, as
// Llama's does, would put one into the middle of a text whose parts are encoded each for itself.
#pragma once

#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

// The ids of `text` behind `context`: what encode(context + text) has behind `context_ids`, which are
// encode(context). None where there are no ids of the context, or the tokenizer joins its end to the text, so
// that those of the whole do not begin with them. Throws as encode() does.
std::optional<std::vector<int32_t>> encode_behind(const Tokenizer& tokenizer, std::string_view context,
                                                  std::span<const int32_t> context_ids,
                                                  std::string_view text);

// The same, and where they are joined the ids of `text` in the midst of any text, with which nothing of it is
// joined: behind a line break or a full stop. They follow those of the context and stand for the same text,
// though in other pieces than encode(context + text).
std::vector<int32_t> encode_after(const Tokenizer& tokenizer, std::string_view context,
                                  std::span<const int32_t> context_ids, std::string_view text);

}  // namespace ssgpt::tokenizer
