// Byte-pair encoding with the pieces of a sentencepiece model. It gives the same ids as sentencepiece and is
// several times as fast, because it looks up pairs by number instead of by text and creates no object per
// piece. Not responsible for what sentencepiece does to a text before splitting it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ssgpt::tokenizer {

class Bpe {
 public:
  struct Piece {
    std::string text;  // with ' ' for a space, not U+2581
    float score = 0.0F;
    int32_t id = 0;
    bool user_defined = false;  // always one token where it occurs, never merged with anything
  };

  // `pieces`: all pieces except byte, control and unknown ones. `byte_ids`: the ids of the byte pieces, which
  // encode a character that has no piece.
  Bpe(const std::vector<Piece>& pieces, const std::array<int32_t, 256>& byte_ids);

  // Appends the ids of `text`, which must be valid UTF-8 without U+2581. Thread-safe. Each thread keeps the
  // memory for the longest text that it has encoded, 40 bytes per character.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

  struct Merge {
    uint32_t rank = 0;   // 0 is merged first; equal if the scores are equal
    int32_t left = -1;   // id of a piece; -1: a character that is no piece
    int32_t right = -1;  // likewise
  };
  // Every merge that encode() can perform on any text, in the order of the ranks. Each piece results from
  // only one merge, even if other pairs of pieces have the same text: the last merge when that text itself is
  // encoded.
  std::vector<Merge> merges() const;

 private:
  // A character, or the result of merging characters.
  struct Symbol {
    uint32_t rank = 0;  // rank of its score; 0 is merged first
    int32_t id = -1;    // -1: a character that is not a piece, but part of one
  };
  struct Pair {
    int32_t left = -1;  // -1: the place is free
    int32_t right = -1;
    int32_t merged = -1;
  };
  struct UserDefined {
    std::string text;
    int32_t id = 0;
  };
  class Merging;

  int32_t add_symbol(std::string_view text);
  void add_pairs(const std::vector<Piece>& pieces);
  size_t place_of(int32_t left, int32_t right) const;
  int32_t merged(int32_t left, int32_t right) const;         // -1: not a piece
  int32_t symbol_of_character(std::string_view text) const;  // -1: in no piece
  const UserDefined* user_defined_at(std::string_view text) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Symbol> symbols_;
  std::unordered_map<std::string, int32_t> numbers_;  // number of each symbol by its text
  std::array<int32_t, 128> ascii_{};                  // the same for ASCII characters
  std::vector<Pair> pairs_;                           // a hash table; its size is a power of two
  // User-defined pieces by their first byte, the longest first.
  std::array<std::vector<UserDefined>, 256> user_defined_;
};

}  // namespace ssgpt::tokenizer
