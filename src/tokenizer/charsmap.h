// normalizer_spec.precompiled_charsmap of a sentencepiece model: a trie of the texts that are rewritten, as a
// double array (darts-clone), and what they become. sentencepiece follows the trie without looking at its
// bounds.
#pragma once

#include <string_view>

namespace ssgpt::tokenizer {

// Whether no text leads sentencepiece out of `blob`: every place that the trie can be followed to is inside
// it, and everything that is rewritten ends inside it. An empty one rewrites nothing.
bool is_sound_charsmap(std::string_view blob);

}  // namespace ssgpt::tokenizer
