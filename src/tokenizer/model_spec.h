// The settings of a sentencepiece model that determine how it splits text. sentencepiece's public headers do
// not offer them, so they are read from the file, a protobuf message (sentencepiece_model.proto, release
// 0.1.97).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

struct ModelSpec {
  bool bpe = false;
  bool byte_fallback = false;
  bool blank_ends_piece = false;    // trainer_spec.treat_whitespace_as_suffix
  bool normalizes = false;          // text is rewritten before it is split, or pieces after they are joined
  bool adds_blank = true;           // normalizer_spec.add_dummy_prefix
  bool removes_blanks = true;       // normalizer_spec.remove_extra_whitespaces
  bool escapes_blanks = true;       // normalizer_spec.escape_whitespaces: a space is U+2581 in pieces
  std::vector<bool> user_defined;   // for each piece: always one token where it occurs
  size_t longest_piece = 0;         // in bytes
  bool pieces_are_texts = true;     // none is empty or holds a NUL
  bool charsmaps_are_sound = true;  // charsmap.h
};

// Missing fields have sentencepiece's defaults. Everything after a malformed field is ignored: sentencepiece
// itself decides whether the file is a model at all.
ModelSpec read_model_spec(std::string_view serialized);

// Why merging byte pairs, with a piece for every byte, would not give the ids of such a model: the end of a
// sentence.
std::string reason_against_byte_pairs(const ModelSpec& spec);

}  // namespace ssgpt::tokenizer
