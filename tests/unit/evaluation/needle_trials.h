// Text with its tokenizer, for the tests of needles.
#pragma once

#include "core/temporary_directory.h"
#include "data/token_source.h"
#include "evaluation/needle_prompts.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

// Sentences of made words, of 3 to 14 words each, with the marks that end sentences in English.
std::string made_text(int64_t sentences, uint64_t seed);

// A tokenizer of 320 pieces, most of them bytes, and shards of documents, each followed by the token 2.
class NeedleText {
 public:
  explicit NeedleText(const std::vector<std::string>& documents);

  const tokenizer::Tokenizer& tokenizer() const { return *tokenizer_; }
  const data::TokenSource& source() const { return source_; }
  // The tokens of all documents, without the ends of documents.
  const std::vector<int32_t>& tokens() const { return tokens_; }
  Haystack haystack(int64_t longest) const;

  static constexpr int64_t kVocab = 320;
  static constexpr int64_t kDocumentEnd = 2;

 private:
  const TemporaryDirectory directory_;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer_;
  std::vector<int32_t> tokens_;
  data::TokenSource source_;
};

}  // namespace ssgpt::evaluation
