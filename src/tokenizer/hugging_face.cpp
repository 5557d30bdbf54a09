#include "tokenizer/hugging_face.h"

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "tokenizer/byte_pairs.h"
#include "tokenizer/marks.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace ssgpt::tokenizer {
namespace {

using Kind = BytePairs::Kind;

std::string_view first_character(std::string_view text) {
  size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) ++length;
  return text.substr(0, length);
}

std::vector<std::string_view> user_defined_texts(const BytePairs& pairs) {
  std::vector<std::string_view> texts;
  for (const BytePairs::Piece& piece : pairs.pieces) {
    if (piece.kind == Kind::kUserDefined) texts.push_back(piece.text);
  }
  return texts;
}

// This character twice, as in the user-defined piece "\n\n".
std::string doubled(std::string_view character) {
  return std::string(character).append(character);
}

// Whether plain merging keeps the user-defined pieces whole, as it does in our models: each piece is one
// character, or such a character twice, and no other piece contains it. A run of the character then becomes
// pairs from its beginning on, and possibly a single one at its end.
bool are_taken_by_merges(const BytePairs& pairs) {
  const std::vector<std::string_view> texts = user_defined_texts(pairs);
  const std::set<std::string_view> known(texts.begin(), texts.end());
  std::set<std::string_view> characters;
  for (const std::string_view text : texts) {
    const std::string_view character = first_character(text);
    if (!known.contains(character) || (text != character && text != doubled(character))) return false;
    characters.insert(character);
  }
  return std::none_of(pairs.pieces.begin(), pairs.pieces.end(), [&](const BytePairs::Piece& piece) {
    return piece.kind == Kind::kText &&
           std::any_of(characters.begin(), characters.end(), [&](std::string_view character) {
             return piece.text.find(character) != std::string::npos;
           });
  });
}

// Refuses a piece that programs which read the file would use for a character of a text, since they look for
// the piece with that name, whatever its kind; encode() gives such a character by its bytes.
void refuse_if_taken_for_text(const BytePairs::Piece& piece) {
  if ((piece.kind == Kind::kControl || piece.kind == Kind::kUnknown) &&
      first_character(piece.text) == piece.text) {
    throw core::InputError("the {} piece '{}' is a single character, which texts can contain",
                           piece.kind == Kind::kControl ? "control" : "unknown", core::excerpt(piece.text));
  }
}

// Ids by the text of pieces. Keys are sorted, which makes it fast to fill.
nlohmann::json vocabulary_of(const BytePairs& pairs) {
  nlohmann::json vocabulary = nlohmann::json::object();
  for (size_t id = 0; id < pairs.pieces.size(); ++id) {
    refuse_if_taken_for_text(pairs.pieces[id]);
    const std::string& text = pairs.pieces[id].text;
    if (core::find_invalid_utf8(text)) throw core::InputError("the piece of id {} is not valid UTF-8", id);
    if (!vocabulary.emplace(text, id).second) {
      throw core::InputError("two pieces have the text '{}'", core::excerpt(text));
    }
  }
  if (!vocabulary.contains(" ")) {
    throw core::InputError("the space is not a piece, and is encoded by the bytes of U+2581");
  }
  return vocabulary;
}

nlohmann::json merges_of(const BytePairs& pairs) {
  const auto text_of = [&](int32_t id) -> const std::string& {
    if (id < 0) throw core::InputError("some pieces contain a character that is not a piece itself");
    return pairs.pieces[static_cast<size_t>(id)].text;
  };
  nlohmann::json merges = nlohmann::json::array();
  for (size_t i = 0; i < pairs.merges.size(); ++i) {
    const Bpe::Merge& merge = pairs.merges[i];
    const std::string &left = text_of(merge.left), &right = text_of(merge.right);
    if (i > 0 && merge.rank == pairs.merges[i - 1].rank) {
      throw core::InputError(
          "'{}' and another piece have the same score: which one is merged first depends on their positions",
          core::excerpt(left + right));
    }
    merges.push_back(nlohmann::json::array({left, right}));
  }
  return merges;
}

// Adds the user-defined pieces as merges, or as texts to search for before anything is merged.
nlohmann::json add_user_defined(const BytePairs& pairs, nlohmann::json& merges) {
  nlohmann::json added = nlohmann::json::array();
  const bool by_merges = are_taken_by_merges(pairs);
  for (size_t id = 0; id < pairs.pieces.size(); ++id) {
    const BytePairs::Piece& piece = pairs.pieces[id];
    if (piece.kind != Kind::kUserDefined) continue;
    const std::string_view character = first_character(piece.text);
    if (by_merges && piece.text != character) {
      merges.push_back(nlohmann::json::array({character, character}));
    } else if (!by_merges) {
      if (pairs.adds_blank) {
        throw core::InputError(
            "the space that is added before every text is lost if the text begins with the user-defined "
            "piece '{}'",
            core::excerpt(piece.text));
      }
      added.push_back({{"id", id},
                       {"content", piece.text},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", false}});
    }
  }
  return added;
}

// A regular expression that this text alone matches.
std::string exactly(std::string_view text) {
  std::string pattern = "^";
  for (const char character : text) {
    if (std::string_view("\\^$.|?*+()[]{}").find(character) != std::string_view::npos) pattern += '\\';
    pattern += character;
  }
  return pattern + "$";
}

std::optional<int32_t> unknown_piece(const BytePairs& pairs) {
  for (size_t id = 0; id < pairs.pieces.size(); ++id) {
    if (pairs.pieces[id].kind == Kind::kUnknown) return static_cast<int32_t>(id);
  }
  return std::nullopt;
}

nlohmann::json normalizer_of(const BytePairs& pairs) {
  if (!pairs.adds_blank) return nullptr;
  const nlohmann::json replace = {
      {"type", "Replace"}, {"pattern", {{"String", kBlankMark}}}, {"content", " "}};
  const nlohmann::json prepend = {{"type", "Prepend"}, {"prepend", " "}};
  return {{"type", "Sequence"}, {"normalizers", nlohmann::json::array({replace, prepend})}};
}

nlohmann::json decoder_of(const BytePairs& pairs, const Tokenizer& tokenizer) {
  std::vector<nlohmann::json> steps;
  if (const auto unknown = unknown_piece(pairs)) {
    const std::string& name = pairs.pieces[static_cast<size_t>(*unknown)].text;
    steps.push_back({{"type", "Replace"},
                     {"pattern", {{"Regex", exactly(name)}}},
                     {"content", tokenizer.decode(std::vector{*unknown})}});
  }
  steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (pairs.adds_blank) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

std::string tokenizer_text(const BytePairs& pairs, const Tokenizer& tokenizer) {
  const std::optional<int32_t> unknown = unknown_piece(pairs);
  nlohmann::json model = {{"type", "BPE"},
                          {"dropout", nullptr},
                          {"continuing_subword_prefix", nullptr},
                          {"end_of_word_suffix", nullptr},
                          {"fuse_unk", false},
                          {"byte_fallback", true},
                          {"ignore_merges", false}};
  model["unk_token"] = unknown ? nlohmann::json(tokenizer.piece(*unknown)) : nlohmann::json();
  model["vocab"] = vocabulary_of(pairs);
  model["merges"] = merges_of(pairs);
  nlohmann::json json = {{"version", "1.0"},
                         {"truncation", nullptr},
                         {"padding", nullptr},
                         {"pre_tokenizer", nullptr},
                         {"post_processor", nullptr}};
  json["added_tokens"] = add_user_defined(pairs, model["merges"]);
  json["normalizer"] = normalizer_of(pairs);
  json["decoder"] = decoder_of(pairs, tokenizer);
  json["model"] = std::move(model);
  return core::json_text(json) + "\n";
}

// Names the class of transformers that uses tokenizer.json as it is. Others, such as Llama's, rebuild it by
// their own rules.
std::string tokenizer_config_text(const BytePairs& pairs, const Tokenizer& tokenizer) {
  nlohmann::ordered_json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                 {"add_bos_token", false},
                                 {"add_eos_token", false},
                                 {"split_special_tokens", true},
                                 {"clean_up_tokenization_spaces", false},
                                 {"padding_side", "left"}};
  json["model_input_names"] = {"input_ids", "attention_mask"};
  const Tokenizer::SpecialIds ids = tokenizer.special_ids();
  for (const auto& [name, id] :
       {std::pair("bos_token", ids.bos), {"eos_token", ids.eos}, {"pad_token", ids.padding}}) {
    if (id) json[name] = tokenizer.piece(*id);
  }
  json["added_tokens_decoder"] = nlohmann::ordered_json::object();
  for (size_t id = 0; id < pairs.pieces.size(); ++id) {
    if (pairs.pieces[id].kind != Kind::kControl) continue;
    json["added_tokens_decoder"][std::to_string(id)] = {{"content", pairs.pieces[id].text},
                                                        {"lstrip", false},
                                                        {"normalized", false},
                                                        {"rstrip", false},
                                                        {"single_word", false},
                                                        {"special", true}};
  }
  return core::json_text(json, 2) + "\n";
}

}  // namespace

HuggingFaceFiles hugging_face_files(const Tokenizer& tokenizer) {
  const BytePairs pairs = tokenizer.byte_pairs();
  return {.tokenizer = tokenizer_text(pairs, tokenizer),
          .tokenizer_config = tokenizer_config_text(pairs, tokenizer)};
}

}  // namespace ssgpt::tokenizer
