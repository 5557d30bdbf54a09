#include "tokenizer/text_stream.h"

#include "tokenizer/marks.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace ssgpt::tokenizer {
namespace {

// The byte that a piece like "<0xE2>" stands for.
std::optional<unsigned> byte_of(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || !piece.ends_with('>')) return std::nullopt;
  unsigned byte = 0;
  const auto [end, error] = std::from_chars(piece.data() + 3, piece.data() + 5, byte, /*base=*/16);
  if (error != std::errc() || end != piece.data() + 5) return std::nullopt;
  return byte;
}

// Bytes of the UTF-8 character that begins with this byte; 1 where none of several bytes does.
size_t character_length(unsigned first) {
  if (first >= 0xC2 && first < 0xE0) return 2;
  if (first >= 0xE0 && first < 0xF0) return 3;
  if (first >= 0xF0 && first < 0xF5) return 4;
  return 1;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const int64_t> context) : tokenizer_(tokenizer) {
  // How a piece is shown depends on whether any text stands before it, not on which.
  for (size_t count = 4; context_ == 0; count *= 2) {
    window_.clear();
    for (const int64_t token : context.last(std::min(count, context.size()))) {
      if (token < tokenizer_.vocab_size()) window_.push_back(static_cast<int32_t>(token));
    }
    keep_as_context();
    if (count >= context.size()) break;
  }
}

// Takes all of the window as shown. A character that it begins is not completed by what follows.
void TextStream::keep_as_context() {
  shown_ = 0;
  window_.resize(window_.size() - num_incomplete());
  shown_ = window_.size();
  context_ = tokenizer_.decode(window_).empty() ? 0 : shown_;
}

std::string TextStream::push(int64_t token) {
  if (token >= tokenizer_.vocab_size()) {
    std::string text = finish();
    keep_as_context();
    return text.append(kReplacement);
  }
  window_.push_back(static_cast<int32_t>(token));
  return show(window_.size() - num_incomplete());
}

std::string TextStream::finish() {
  return show(window_.size());
}

// Tokens at the end that are the first bytes of a character whose others are still to come.
size_t TextStream::num_incomplete() const {
  constexpr size_t kMostBytes = 3;  // without the last of four
  for (size_t count = 1; count <= std::min(kMostBytes, window_.size() - shown_); ++count) {
    const std::optional<unsigned> byte = byte_of(tokenizer_.piece(window_[window_.size() - count]));
    if (!byte) return 0;
    const bool continues = *byte >= 0x80 && *byte < 0xC0;
    if (!continues) return character_length(*byte) > count ? count : 0;
  }
  return 0;
}

std::string TextStream::show(size_t end) {
  if (end == shown_) return {};
  const std::span<const int32_t> window(window_);
  const std::string before = tokenizer_.decode(window.first(shown_));
  const std::string now = tokenizer_.decode(window.first(end));
  // The part that was shown last is sufficient context for the next one if it has any text: before the very
  // first text, some models leave out a space.
  const bool has_text = !tokenizer_.decode(window.subspan(shown_, end - shown_)).empty();
  const size_t kept = has_text ? 0 : context_;
  const size_t dropped = has_text || context_ > 0 ? shown_ - kept : 0;
  const auto first = window_.begin() + static_cast<std::ptrdiff_t>(kept);
  window_.erase(first, first + static_cast<std::ptrdiff_t>(dropped));
  shown_ = end - dropped;
  if (has_text) context_ = shown_;
  return now.substr(std::min(before.size(), now.size()));
}

}  // namespace ssgpt::tokenizer
