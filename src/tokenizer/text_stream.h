// The text of tokens that come one by one.
#pragma once

#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ssgpt::tokenizer {

// Hands out text as soon as it is certain: the bytes of a character that is not complete yet are held back,
// so each part is valid UTF-8, and all parts together are the tokenizer's decoding. An id beyond the
// tokenizer's vocabulary, which a model with a larger one may choose, is shown as U+FFFD.
class TextStream {
 public:
  // `context`: the tokens before the first one; the text goes on where theirs ends. `tokenizer` must outlive
  // it.
  TextStream(const Tokenizer& tokenizer, std::span<const int64_t> context);

  std::string push(int64_t token);  // what is certain with this token; may be empty
  std::string finish();             // what was held back

 private:
  void keep_as_context();
  size_t num_incomplete() const;
  std::string show(size_t end);

  const Tokenizer& tokenizer_;
  // Tokens that have text, then others that were shown, then those that were not.
  std::vector<int32_t> window_;
  size_t context_ = 0;  // tokens of the window that have text; 0: nothing that was shown has
  size_t shown_ = 0;    // tokens of the window, those of the context among them
};

}  // namespace ssgpt::tokenizer
