// The tokens of a text that continues another one. A tokenizer that adds a space before every text, as
// Llama's does, would add one in the middle if the two were encoded separately.
#pragma once

#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

// The ids of `text` after `context`: those of encode(context + text) that follow `context_ids`, which must be
// encode(context). nullopt if context_ids is empty, or if the tokenizer merges the end of the context with
// the text, so that the ids of the whole do not begin with context_ids. Throws as encode() does.
std::optional<std::vector<int32_t>> encode_behind(const Tokenizer& tokenizer, std::string_view context,
                                                  std::span<const int32_t> context_ids,
                                                  std::string_view text);

// The same, but if the two would be merged, the ids that `text` has after a line break or a full stop, where
// nothing is merged with it. They decode to the same text after those of the context, though encode(context +
// text) has other pieces.
std::vector<int32_t> encode_after(const Tokenizer& tokenizer, std::string_view context,
                                  std::span<const int32_t> context_ids, std::string_view text);

}  // namespace ssgpt::tokenizer
