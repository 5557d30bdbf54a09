// What a sentencepiece model file says about how it splits text. sentencepiece offers these fields through no
// public header, so they are read from the file, which is a protobuf message (sentencepiece_model.proto,
// release 0.1.97).
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
  bool escapes_blanks = true;       // normalizer_spec.escape_whitespaces: a blank is U+2581 in pieces
  std::vector<bool> user_defined;   // for each piece: taken whole wherever it occurs
  size_t longest_piece = 0;         // in bytes
  bool pieces_are_texts = true;     // none is empty or holds a NUL
  bool charsmaps_are_sound = true;  // charsmap.h
};

// Fields that are not there have sentencepiece's defaults. What follows a malformed field is ignored: whether
// the file is a model at all is for sentencepiece to say.
ModelSpec read_model_spec(std::string_view serialized);

// What such a model does that merging its pieces pair by pair, with a piece for every byte, does not, as the
// end of a sentence.
std::string reason_against_byte_pairs(const ModelSpec& spec);

}  // namespace ssgpt::tokenizer
