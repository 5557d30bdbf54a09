// Text of token shards to hide a needle in: its tokens, and where its sentences end.
#pragma once

#include "data/token_source.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ssgpt::evaluation {

// Of longer shards no more than this many tokens are used, or twice what one haystack takes.
inline constexpr int64_t kHaystackTokens = int64_t{1} << 23;

class Haystack {
 public:
  // Reads the first tokens of `source`. Tokens that end a document are left out, so that all is one text,
  // also for a model whose attention would end with it. A sentence ends between two tokens where the text
  // before is ".", "!" or "?", closing quotes and brackets behind it allowed, and the token after begins with
  // white space; and where a document ended. `longest`: tokens of the longest haystack.
  //
  // Throws core::InputError for a token that is none of the vocabulary, and for text in which no sentence
  // ends.
  Haystack(const data::TokenSource& source, const tokenizer::Tokenizer& tokenizer, int64_t vocab_size,
           std::optional<int64_t> document_token_id, int64_t longest);

  std::span<const int32_t> tokens() const { return tokens_; }
  // Rising: i where a sentence ends between tokens i - 1 and i; of the last also the number of tokens.
  std::span<const int64_t> sentence_ends() const { return sentence_ends_; }

  // Where a stretch of `count` tokens that ends with a sentence ends, chosen by `bits` among all there are,
  // each as likely. Throws core::InputError where there is none.
  int64_t choose_end(int64_t count, uint64_t bits) const;

  // The sentence end nearest to `per_cent` of the way from token `begin` to token `end`, of those between the
  // two, neither included; of two as near the first. None where no sentence ends there.
  std::optional<int64_t> nearest_sentence_end(int64_t begin, int64_t end, int64_t per_cent) const;

 private:
  std::vector<int32_t> tokens_;
  std::vector<int64_t> sentence_ends_;
};

}  // namespace ssgpt::evaluation
