// Text from token shards to hide a needle in: its tokens, and where its sentences end.
#pragma once

#include "data/token_source.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ssgpt::evaluation {

// Tokens used of longer shards, or twice the longest haystack, if that is more.
inline constexpr int64_t kHaystackTokens = int64_t{1} << 23;

class Haystack {
 public:
  // Reads the first tokens of `source`. Tokens that end a document are dropped, so that everything is one
  // text, even for a model with document masking. A sentence ends between two tokens if the text before ends
  // with ".", "!" or "?", possibly followed by closing quotes and brackets, and the next token begins with
  // white space; and wherever a document ended. `longest`: tokens of the longest haystack.
  //
  // Throws core::InputError for a token id outside the vocabulary, and for text in which no sentence ends.
  Haystack(const data::TokenSource& source, const tokenizer::Tokenizer& tokenizer, int64_t vocab_size,
           std::optional<int64_t> document_token_id, int64_t longest);

  std::span<const int32_t> tokens() const { return tokens_; }
  // Ascending: i if a sentence ends between tokens i - 1 and i; also the number of tokens, if the last
  // sentence is complete.
  std::span<const int64_t> sentence_ends() const { return sentence_ends_; }

  // End of a stretch of `count` tokens that ends with a sentence, chosen by `bits` with equal probability
  // among all of them. Throws core::InputError if there is none.
  int64_t choose_end(int64_t count, uint64_t bits) const;

  // The sentence end nearest to `per_cent` of the way from token `begin` to token `end`, strictly between the
  // two; the first of two equally near ones. nullopt if no sentence ends there.
  std::optional<int64_t> nearest_sentence_end(int64_t begin, int64_t end, int64_t per_cent) const;

 private:
  std::vector<int32_t> tokens_;
  std::vector<int64_t> sentence_ends_;
};

}  // namespace ssgpt::evaluation
