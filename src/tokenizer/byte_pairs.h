// The pieces and merges of a tokenizer, from which other programs can produce the same ids.
#pragma once

#include "tokenizer/bpe.h"

#include <string>
#include <vector>

namespace ssgpt::tokenizer {

struct BytePairs {
  enum class Kind {
    kText,
    kUserDefined,  // text that is one token wherever it occurs
    kByte,         // its name gives the byte: "<0x0A>"
    kControl,      // never occurs in a text: "<s>"
    kUnknown,      // likewise, since a character without a piece is encoded by its bytes
  };
  struct Piece {
    std::string text;  // its characters, with ' ' for a space; for the last three kinds its name
    Kind kind = Kind::kText;
  };

  std::vector<Piece> pieces;       // the index is the id
  std::vector<Bpe::Merge> merges;  // Bpe::merges()
  bool adds_blank = false;         // adds a space before every non-empty text; U+2581 then is a space, too
};

}  // namespace ssgpt::tokenizer
