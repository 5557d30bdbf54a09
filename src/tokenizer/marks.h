// Characters that stand for something in pieces and texts, in UTF-8.
#pragma once

#include <string_view>

namespace ssgpt::tokenizer {

inline constexpr std::string_view kBlankMark = "\xE2\x96\x81";    // U+2581, the blank in pieces
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD, for bytes that are no UTF-8

}  // namespace ssgpt::tokenizer
