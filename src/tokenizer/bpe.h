// Byte-pair encoding with the pieces of a sentencepiece model, id for id as sentencepiece does it, at several
// times its speed: pairs are looked up by number instead of by text, and no object is made for a piece.
// Not responsible for what sentencepiece does to text before it is split.
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
    std::string text;  // as characters: blanks are ' ', not U+2581
    float score = 0.0F;
    int32_t id = 0;
    bool user_defined = false;  // always one token where it occurs, and merged with nothing
  };

  // `pieces` are those that text is made of: no byte, control or unknown ones. `byte_ids` are the ids of the
  // byte pieces, which a character without a piece is given by.
  Bpe(const std::vector<Piece>& pieces, const std::array<int32_t, 256>& byte_ids);

  // Appends the ids of `text`, which is valid UTF-8 without U+2581. Thread-safe. Each thread keeps memory for
  // the longest text that it met, 40 bytes a character.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

  struct Merge {
    uint32_t rank = 0;   // 0 is merged first; equal where the scores are
    int32_t left = -1;   // id of a piece; -1: a character that is no piece
    int32_t right = -1;  // likewise
  };
  // Every merge that encode() can carry out on any text, the first to be merged first. A piece comes about by
  // one alone, whatever else would make it of two pieces: the last one of its own text.
  std::vector<Merge> merges() const;

 private:
  // A character, or what characters were merged to.
  struct Symbol {
    uint32_t rank = 0;  // of its score: 0 is merged first
    int32_t id = -1;    // -1: a character that is no piece, but part of some
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
  int32_t merged(int32_t left, int32_t right) const;         // -1: no piece
  int32_t symbol_of_character(std::string_view text) const;  // -1: in no piece
  const UserDefined* user_defined_at(std::string_view text) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Symbol> symbols_;
  std::unordered_map<std::string, int32_t> numbers_;  // of the symbols
  std::array<int32_t, 128> ascii_{};                  // the same for these characters
  std::vector<Pair> pairs_;                           // a hash table; its size is a power of two
  // By first byte, the longest first.
  std::array<std::vector<UserDefined>, 256> user_defined_;
};

}  // namespace ssgpt::tokenizer
