// A tokenizer laid open for programs that shall make the same ids: what its pieces are, and by which merges
// they come about.
#pragma once

#include "tokenizer/bpe.h"

#include <string>
#include <vector>

namespace ssgpt::tokenizer {

struct BytePairs {
  enum class Kind {
    kText,
    kUserDefined,  // text that is one token wherever it occurs
    kByte,         // its name, "<0x0A>", says which
    kControl,      // no text has it: "<s>"
    kUnknown,      // likewise, as each character without a piece is given by its bytes
  };
  struct Piece {
    std::string text;  // of text its characters, with ' ' for a blank; of the others their names
    Kind kind = Kind::kText;
  };

  std::vector<Piece> pieces;       // by id
  std::vector<Bpe::Merge> merges;  // Bpe::merges()
  bool adds_blank = false;         // before every text that is not empty; U+2581 is then a blank as well
};

}  // namespace ssgpt::tokenizer
