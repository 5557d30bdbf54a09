#include "evaluation/haystack.h"

#include "core/error.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

namespace ssgpt::evaluation {
namespace {

using namespace std::string_view_literals;

// The part that a token can play in a sentence's end.
struct PieceOfText {
  bool ends = false;    // ends with a full stop, possibly followed by closing marks
  bool closes = false;  // consists of closing marks only
  bool blank = false;   // begins with white space
};

std::string_view without_closing_marks(std::string_view text) {
  constexpr std::array kMarks = {"\""sv, "'"sv, ")"sv, "]"sv, "”"sv, "’"sv, "»"sv};
  for (bool found = true; found;) {
    found = false;
    for (const std::string_view mark : kMarks) {
      if (!text.ends_with(mark)) continue;
      text.remove_suffix(mark.size());
      found = true;
    }
  }
  return text;
}

// `piece`: in sentencepiece's form, with U+2581 for a blank and <0x0A> for a byte.
PieceOfText describe_piece(std::string_view piece) {
  PieceOfText result;
  result.blank = piece.starts_with("▁") || piece.starts_with("\n") || piece.starts_with("\t") ||
                 piece == "<0x0A>" || piece == "<0x09>";
  const std::string_view rest = without_closing_marks(piece);
  result.ends = rest.ends_with('.') || rest.ends_with('!') || rest.ends_with('?');
  result.closes = rest.empty() && !piece.empty();
  return result;
}

std::vector<PieceOfText> describe_pieces(const tokenizer::Tokenizer& tokenizer) {
  std::vector<PieceOfText> pieces;
  for (int64_t id = 0; id < tokenizer.vocab_size(); ++id)
    pieces.push_back(describe_piece(tokenizer.piece(static_cast<int32_t>(id))));
  return pieces;
}

std::string shards_text(const data::TokenSource& source) {
  return source.shards().front().path().string() +
         (source.shards().size() > 1 ? " and the shards after it" : "");
}

}  // namespace

Haystack::Haystack(const data::TokenSource& source, const tokenizer::Tokenizer& tokenizer, int64_t vocab_size,
                   std::optional<int64_t> document_token_id, int64_t longest) {
  const int64_t count = std::min(source.num_tokens(), std::max(kHaystackTokens, 2 * longest));
  std::vector<int32_t> read(static_cast<size_t>(count));
  source.read(0, read, vocab_size);
  const std::vector<PieceOfText> pieces = describe_pieces(tokenizer);
  bool ended = false;         // the text so far ends a sentence if white space follows
  bool document_end = false;  // directly before this token
  for (const int32_t token : read) {
    if (token == document_token_id) {
      document_end = true;
      continue;
    }
    // An id that a larger model has beyond its tokenizer's vocabulary is not text.
    const PieceOfText piece =
        static_cast<size_t>(token) < pieces.size() ? pieces[static_cast<size_t>(token)] : PieceOfText{};
    const auto place = static_cast<int64_t>(tokens_.size());
    if (place > 0 && (document_end || (ended && piece.blank))) sentence_ends_.push_back(place);
    ended = piece.ends || (ended && piece.closes);
    document_end = false;
    tokens_.push_back(token);
  }
  if (!tokens_.empty() && (ended || document_end))
    sentence_ends_.push_back(static_cast<int64_t>(tokens_.size()));
  if (sentence_ends_.empty()) {
    throw core::InputError(
        "{}: no sentence ends in its {} tokens, with a full stop followed by white space, and a needle "
        "is put between two sentences; are these the shards of another tokenizer?",
        shards_text(source), count);
  }
}

int64_t Haystack::choose_end(int64_t count, uint64_t bits) const {
  const auto first = std::lower_bound(sentence_ends_.begin(), sentence_ends_.end(), count);
  if (first == sentence_ends_.end()) {
    throw core::InputError(
        "--data: {} tokens of text, the last sentence of which ends at {}: too few for a haystack of {}; "
        "give more shards or shorter --lengths.",
        tokens_.size(), sentence_ends_.back(), count);
  }
  return *(first + static_cast<int64_t>(bits % static_cast<uint64_t>(sentence_ends_.end() - first)));
}

std::optional<int64_t> Haystack::nearest_sentence_end(int64_t begin, int64_t end, int64_t per_cent) const {
  const auto first = std::upper_bound(sentence_ends_.begin(), sentence_ends_.end(), begin);
  const auto last = std::lower_bound(first, sentence_ends_.end(), end);
  if (first == last) return std::nullopt;
  // In hundredths of a token, to stay in whole numbers.
  const int64_t exact = 100 * begin + per_cent * (end - begin);
  const auto distance = [exact](int64_t place) {
    return std::abs(100 * place - exact);
  };
  return *std::min_element(first, last, [&](int64_t a, int64_t b) { return distance(a) < distance(b); });
}

}  // namespace ssgpt::evaluation
