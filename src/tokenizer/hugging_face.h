// A tokenizer in Hugging Face's files, for transformers and other programs that use the library `tokenizers`.
#pragma once

#include "tokenizer/tokenizer.h"

#include <string>

namespace ssgpt::tokenizer {

struct HuggingFaceFiles {
  std::string tokenizer;         // the text of tokenizer.json
  std::string tokenizer_config;  // the text of tokenizer_config.json
};

// With these files, transformers' AutoTokenizer gives the ids of tokenizer.encode() for every text, without
// BOS and EOS. The exception is a word of more than 64 KiB, which encode() encodes in parts. "</s>" in a text
// is text, as in encode(): tokenizer.json names no special tokens, because programs would search texts for
// them; tokenizer_config.json names them and sets split_special_tokens.
//
// Decoding ids from encode() gives the text of tokenizer.decode(). So does decoding any other ids if special
// tokens are skipped, except in two cases. If bytes that belong to no character stand beside bytes that form
// one, every byte of the run becomes U+FFFD; bytes on both sides of a skipped token count as one run. And if
// the model adds a space before every text, a space at the beginning is also dropped if it comes from a byte
// or from <unk>.
//
// Throws core::InputError with the reason if no such files give exactly the same ids. Takes a few
// microseconds per piece.
HuggingFaceFiles hugging_face_files(const Tokenizer& tokenizer);

}  // namespace ssgpt::tokenizer
