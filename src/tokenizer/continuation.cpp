#include "tokenizer/continuation.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace ssgpt::tokenizer {

std::optional<std::vector<int32_t>> encode_behind(const Tokenizer& tokenizer, std::string_view context,
                                                  std::span<const int32_t> context_ids,
                                                  std::string_view text) {
  if (context_ids.empty()) return std::nullopt;
  std::vector<int32_t> ids = tokenizer.encode(std::string(context).append(text));
  if (ids.size() < context_ids.size() || !std::equal(context_ids.begin(), context_ids.end(), ids.begin())) {
    return std::nullopt;
  }
  ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(context_ids.size()));
  return ids;
}

std::vector<int32_t> encode_after(const Tokenizer& tokenizer, std::string_view context,
                                  std::span<const int32_t> context_ids, std::string_view text) {
  if (auto ids = encode_behind(tokenizer, context, context_ids, text)) return std::move(*ids);
  for (const std::string_view neutral : {"\n", "."}) {
    if (auto ids = encode_behind(tokenizer, neutral, tokenizer.encode(neutral), text)) return std::move(*ids);
  }
  return tokenizer.encode(text);
}

}  // namespace ssgpt::tokenizer
