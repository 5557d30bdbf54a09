#include "evaluation/needle_trials.h"

#include "core/random.h"
#include "evaluation/models.h"

#include <array>
#include <string_view>

namespace ssgpt::evaluation {

std::string made_text(int64_t sentences, uint64_t seed) {
  constexpr std::array<std::string_view, 12> kWords = {"the",  "hand",  "of",  "Thomas", "went", "3.14",
                                                       "into", "water", "and", "night",  "was",  "e.g."};
  constexpr std::array<std::string_view, 6> kEnds = {".", ".", "!", "?", ".\"", ".)"};
  const uint64_t key = core::stream_key(seed, "made text");
  uint64_t next = 0;
  const auto below = [&](size_t most) {
    return static_cast<size_t>(core::random_bits(key, next++) % most);
  };
  std::string text;
  for (int64_t i = 0; i < sentences; ++i) {
    if (i > 0) text += below(5) == 0 ? "\n" : " ";
    const size_t words = 3 + below(12);
    for (size_t word = 0; word < words; ++word) {
      if (word > 0) text += " ";
      text += kWords[below(kWords.size())];
    }
    text += kEnds[below(kEnds.size())];
  }
  return text;
}

NeedleText::NeedleText(const std::vector<std::string>& documents) {
  // Enough text for the pieces, whatever the documents are.
  std::vector<std::string> corpus = {made_text(200, 99)};
  tokenizer::train(
      [&](std::string& document) {
        if (corpus.empty()) return false;
        document = std::move(corpus.back());
        corpus.pop_back();
        return true;
      },
      directory_ / "t.model", {.vocab_size = kVocab});
  tokenizer_ = std::make_unique<tokenizer::Tokenizer>(directory_ / "t.model");
  std::vector<uint16_t> shard;
  for (const std::string& document : documents) {
    for (const int32_t token : tokenizer_->encode(document)) {
      tokens_.push_back(token);
      shard.push_back(static_cast<uint16_t>(token));
    }
    shard.push_back(static_cast<uint16_t>(kDocumentEnd));
  }
  source_ = data::TokenSource({write_tokens(directory_.path(), shard)});
}

Haystack NeedleText::haystack(int64_t longest) const {
  return {source_, *tokenizer_, kVocab, kDocumentEnd, longest};
}

}  // namespace ssgpt::evaluation
