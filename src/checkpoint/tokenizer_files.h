// What a checkpoint holds of its tokenizer: a copy of it, and the same for programs that read Hugging Face's
// files.
#pragma once

#include "tokenizer/hugging_face.h"
#include "tokenizer/tokenizer.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace ssgpt::checkpoint {

struct TokenizerFiles {
  std::string model;                                        // tokenizer.model, byte for byte
  std::optional<tokenizer::HuggingFaceFiles> hugging_face;  // none: they would not give the same ids
  tokenizer::Tokenizer::SpecialIds ids;
  std::string no_eos;  // where ids.eos is none, what there is to say about it
};

// Those of the sentencepiece model in `model`. The file is read at each call, as it may have been replaced;
// what is made of it is kept from one call to the next, since it takes a second for a large vocabulary. Where
// hugging_face is none, a warning says why, once. `fingerprint`: core::checksum_of_file of what the run
// trains with; empty where that is not known. Thread-safe. Throws core::Error where the file cannot be read,
// holds another tokenizer, or none.
std::shared_ptr<const TokenizerFiles> read_tokenizer_files(const std::filesystem::path& model,
                                                           const std::string& fingerprint);

}  // namespace ssgpt::checkpoint
