// The tokenizer's files in a checkpoint: a copy of the sentencepiece model, and the same tokenizer in Hugging
// Face's files.
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
  std::optional<tokenizer::HuggingFaceFiles> hugging_face;  // nullopt: no such files give the same ids
  tokenizer::Tokenizer::SpecialIds ids;
  std::string no_eos;  // the error message if there is no ids.eos
};

// The files of the sentencepiece model in `model`. Reads that file at each call, since it may have been
// replaced, but keeps the result from one call to the next, since converting a large vocabulary takes a
// second. If hugging_face is nullopt, one warning says why. `fingerprint`: core::checksum_of_file of the
// tokenizer that the run trains with; empty if it is not known. Thread-safe. Throws core::Error if the file
// cannot be read, or holds another tokenizer or none at all.
std::shared_ptr<const TokenizerFiles> read_tokenizer_files(const std::filesystem::path& model,
                                                           const std::string& fingerprint);

}  // namespace ssgpt::checkpoint
