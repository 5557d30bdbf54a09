// A tokenizer for programs that read Hugging Face's files: transformers, and whatever else goes by the
// library `tokenizers`.
#pragma once

#include "tokenizer/tokenizer.h"

#include <string>

namespace ssgpt::tokenizer {

struct HuggingFaceFiles {
  std::string tokenizer;         // the text of tokenizer.json
  std::string tokenizer_config;  // of tokenizer_config.json
};

// By these files transformers' AutoTokenizer gives the ids of tokenizer.encode() for every text, but for
// words of more than 64 KiB (there encode() cuts), and adds neither BOS nor EOS. "</s>" in a text is text, as
// in encode(): tokenizer.json names no special tokens, which its readers would look for in texts;
// tokenizer_config.json names them, with split_special_tokens. Ids that encode() gives have the text of
// tokenizer.decode(). So have others where special tokens are skipped, except for bytes that are part of no
// character: beside ones that are, each byte of both is U+FFFD, and those around a skipped token are joined.
// And of a model that puts a blank before texts, a first blank is dropped also where it comes from a byte or
// from <unk>.
//
// Throws core::InputError where no such file gives exactly the same ids, which says why. Takes some
// microseconds a piece.
HuggingFaceFiles hugging_face_files(const Tokenizer& tokenizer);

}  // namespace ssgpt::tokenizer
