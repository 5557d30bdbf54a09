// tokenizer.json by a plain reader of its rules: the ids and the texts of the tokenizer, and which models get
// none. tests/integration/test_hugging_face.py reads the same files with Hugging Face's libraries.

#include "tokenizer/hugging_face.h"

#include "core/error.h"
#include "tokenizer/byte_pairs.h"
#include "tokenizer/corpus.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sentencepiece_processor.h>

namespace ssgpt::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::train_foreign;

std::vector<std::string> characters_of(const std::string& text) {
  std::vector<std::string> characters;
  for (const char byte : text) {
    if (characters.empty() || (static_cast<unsigned char>(byte) & 0xC0) != 0x80) characters.emplace_back();
    characters.back() += byte;
  }
  return characters;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// What the library `tokenizers` documents of a BPE model with byte_fallback, in the simplest way.
class PlainReader {
 public:
  explicit PlainReader(const std::string& text) : json_(nlohmann::json::parse(text)) {
    const nlohmann::json& model = json_.at("model");
    EXPECT_EQ(model.at("type"), "BPE");
    EXPECT_TRUE(model.at("byte_fallback").get<bool>());
    EXPECT_FALSE(model.at("ignore_merges").get<bool>());
    for (const auto& [token, id] : model.at("vocab").items()) vocabulary_[token] = id.get<int32_t>();
    for (const nlohmann::json& pair : model.at("merges")) {
      const auto left = pair.at(0).get<std::string>(), right = pair.at(1).get<std::string>();
      EXPECT_TRUE(vocabulary_.contains(left) && vocabulary_.contains(right) &&
                  vocabulary_.contains(left + right));
      ranks_.emplace(std::pair(left, right), ranks_.size());
    }
    for (const nlohmann::json& token : json_.at("added_tokens"))
      added_.insert(token.at("content").get<std::string>());
  }

  size_t num_merges() const { return ranks_.size(); }
  size_t num_added() const { return added_.size(); }

  std::vector<int32_t> encode(std::string text) const {
    std::vector<int32_t> ids;
    std::string between;
    while (!text.empty()) {
      std::string longest;
      for (const std::string& added : added_) {
        if (text.starts_with(added) && added.size() > longest.size()) longest = added;
      }
      if (longest.empty()) {
        between += text.front();
        text.erase(0, 1);
        continue;
      }
      append(std::exchange(between, ""), ids);
      ids.push_back(vocabulary_.at(longest));
      text.erase(0, longest.size());
    }
    append(between, ids);
    return ids;
  }

 private:
  void append(std::string text, std::vector<int32_t>& ids) const {
    if (!json_.at("normalizer").is_null() && !text.empty()) text = " " + replaced(text, "\xE2\x96\x81", " ");
    std::vector<std::string> symbols = characters_of(text);
    while (true) {
      auto best = ranks_.end();
      size_t place = 0;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ranks_.find({symbols[i], symbols[i + 1]});
        if (found != ranks_.end() && (best == ranks_.end() || found->second < best->second)) {
          best = found;
          place = i;
        }
      }
      if (best == ranks_.end()) break;
      symbols[place] += symbols[place + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
    for (const std::string& symbol : symbols) {
      if (const auto found = vocabulary_.find(symbol); found != vocabulary_.end()) {
        ids.push_back(found->second);
        continue;
      }
      for (const char byte : symbol) {
        ids.push_back(vocabulary_.at(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte))));
      }
    }
  }

  nlohmann::json json_;
  std::map<std::string, int32_t> vocabulary_;
  std::map<std::pair<std::string, std::string>, size_t> ranks_;
  std::set<std::string> added_;
};

void expect_same_ids(const Tokenizer& tokenizer, const PlainReader& reader) {
  std::vector<std::string> texts = {testing::make_documents(13, 1).front().substr(0, 400)};
  texts.insert(texts.end(),
               {"", " ", "\n", "\n\n\n\n\n a", "   \n", "\xE2\x96\x81",
                " \xE2\x96\x81 x\xE2\x96\x81\xE2\x96\x81", std::string(3, '\0') + "a", "<s></s><unk><0x41>",
                "badibabad<|end|>di  <s></s>di   x", std::string(90, 'a') + std::string(90, ' ')});
  for (uint64_t seed = 3000; seed < 3150; ++seed) texts.push_back(testing::random_text(seed, 60));
  for (const std::string& text : texts) ASSERT_EQ(reader.encode(text), tokenizer.encode(text)) << text;
}

TEST(HuggingFace, GivesTheIdsOfOurModels) {
  const Tokenizer& tokenizer = testing::shared_tokenizer();
  const HuggingFaceFiles files = hugging_face_files(tokenizer);
  const PlainReader reader(files.tokenizer);
  EXPECT_GT(reader.num_merges(), 300U);
  EXPECT_EQ(reader.num_added(), 0U);
  expect_same_ids(tokenizer, reader);
  EXPECT_EQ(hugging_face_files(tokenizer).tokenizer, files.tokenizer);
}

TEST(HuggingFace, NamesTheSpecialTokensBesideTheTokenizerAndAddsNone) {
  const HuggingFaceFiles files = hugging_face_files(testing::shared_tokenizer());
  const auto config = nlohmann::json::parse(files.tokenizer_config);
  EXPECT_EQ(config.at("bos_token"), "<s>");
  EXPECT_EQ(config.at("eos_token"), "</s>");
  EXPECT_EQ(config.at("pad_token"), "<s>");
  EXPECT_EQ(config.at("add_bos_token"), false);
  EXPECT_EQ(config.at("add_eos_token"), false);
  EXPECT_EQ(config.at("split_special_tokens"), true);
  EXPECT_EQ(config.at("added_tokens_decoder").at("2").at("content"), "</s>");
  EXPECT_EQ(config.at("added_tokens_decoder").size(), 2U);
  EXPECT_TRUE(nlohmann::json::parse(files.tokenizer).at("post_processor").is_null());
}

TEST(HuggingFace, PadsByThePieceThatAModelHasForIt) {
  const auto padding_of = [](const std::unordered_map<std::string, std::string>& ids) {
    std::unordered_map<std::string, std::string> kind = {{"model_type", "bpe"}};
    kind.insert(ids.begin(), ids.end());
    const Tokenizer::SpecialIds found = Tokenizer(train_foreign(kind), "m").special_ids();
    return std::pair(found.bos.value_or(-1), found.padding.value_or(-1));
  };
  EXPECT_EQ(padding_of({{"pad_id", "3"}}), std::pair(1, 3));
  EXPECT_EQ(padding_of({}), std::pair(1, 1));
  EXPECT_EQ(padding_of({{"bos_id", "-1"}, {"eos_id", "1"}}), std::pair(-1, 1));
  EXPECT_EQ(padding_of({{"bos_id", "-1"}, {"eos_id", "-1"}}), std::pair(-1, -1));
}

const std::unordered_map<std::string, std::string> kLossless = {{"model_type", "bpe"},
                                                                {"byte_fallback", "true"},
                                                                {"normalization_rule_name", "identity"},
                                                                {"remove_extra_whitespaces", "false"},
                                                                {"add_dummy_prefix", "false"}};

Tokenizer trained_with(const std::unordered_map<std::string, std::string>& changes) {
  std::unordered_map<std::string, std::string> kind = changes;
  kind.insert(kLossless.begin(), kLossless.end());
  return {train_foreign(kind), "foreign.model"};
}

TEST(HuggingFace, GivesTheIdsOfModelsThatPutABlankBeforeTextsOrTakePiecesWhole) {
  struct Case {
    std::unordered_map<std::string, std::string> changes;
    size_t num_added;
  };
  const std::vector<Case> cases = {
      {{{"add_dummy_prefix", "true"}}, 0},
      {{{"add_dummy_prefix", "true"}, {"user_defined_symbols", "\n,\n\n,\t"}}, 0},
      {{{"user_defined_symbols", "ba,bad,<|end|>,\n,\n\n\n"}}, 5},
      {{{"user_defined_symbols", "badi,i,<s,lo"}, {"split_digits", "true"}}, 4},
      {{{"user_defined_symbols", "\n\n"}}, 1},
      {{{"character_coverage", "0.98"}, {"allow_whitespace_only_pieces", "true"}}, 0},
  };
  for (const Case& one : cases) {
    const Tokenizer tokenizer = trained_with(one.changes);
    const PlainReader reader(hugging_face_files(tokenizer).tokenizer);
    EXPECT_EQ(reader.num_added(), one.num_added);
    expect_same_ids(tokenizer, reader);
  }
}

std::string refusal(const Tokenizer& tokenizer) {
  try {
    hugging_face_files(tokenizer);
  } catch (const core::InputError& error) {
    return error.what();
  }
  return "none";
}

TEST(HuggingFace, IsRefusedForModelsThatItCannotExpress) {
  EXPECT_THAT(refusal(trained_with({{"model_type", "unigram"}})), HasSubstr("not a byte-pair model"));
  EXPECT_THAT(refusal(trained_with({{"normalization_rule_name", "nmt_nfkc"}})),
              HasSubstr("normalization_rule_name"));
  EXPECT_THAT(refusal(trained_with({{"remove_extra_whitespaces", "true"}})),
              HasSubstr("remove_extra_whitespaces"));
  EXPECT_THAT(refusal(trained_with({{"byte_fallback", "false"}})), HasSubstr("byte_fallback"));
  EXPECT_THAT(refusal(trained_with({{"treat_whitespace_as_suffix", "true"}})),
              HasSubstr("treat_whitespace_as_suffix"));
  EXPECT_THAT(refusal(trained_with({{"split_by_whitespace", "false"}})),
              HasSubstr("from one word into the next"));
  EXPECT_THAT(refusal(trained_with({{"add_dummy_prefix", "true"}, {"user_defined_symbols", "<|end|>"}})),
              HasSubstr("'<|end|>'"));
  EXPECT_THAT(refusal(trained_with({{"unk_piece", "\xE2\x81\x87"}})),
              HasSubstr("the unknown piece '\xE2\x81\x87'"));
  EXPECT_THAT(refusal(trained_with({{"control_symbols", "\xC2\xA7"}})),
              HasSubstr("the control piece '\xC2\xA7'"));
  EXPECT_EQ(refusal(trained_with({{"unk_piece", "\xE2\x81\x87?"}, {"control_symbols", "<sep>"}})), "none");
}

enum class Type { kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6 };

std::string piece_of(const std::string& text, float score, Type type) {
  const auto bits = std::bit_cast<uint32_t>(score);
  std::string content = message(1, text) + '\x15';
  for (int shift = 0; shift < 32; shift += 8) content.push_back(static_cast<char>(bits >> shift & 0xFF));
  return message(1, content + '\x18' + static_cast<char>(type));
}

// A model of byte pairs that keeps all of a text, of the pieces with their scores.
std::string model_of(const std::vector<std::pair<std::string, float>>& pieces) {
  std::string model = piece_of("<unk>", 0, Type::kUnknown) + piece_of("<s>", 0, Type::kControl) +
                      piece_of("</s>", 0, Type::kControl);
  for (int byte = 0; byte < 256; ++byte) model += piece_of(fmt::format("<0x{:02X}>", byte), 0, Type::kByte);
  for (const auto& [text, score] : pieces) model += piece_of(text, score, Type::kNormal);
  const std::string bpe_with_bytes = std::string("\x18\x02") + "\x98\x02\x01";  // fields 3 and 35
  const std::string plain = std::string("\x18", 1) + '\0' + '\x20' + '\0';      // fields 3 and 4
  return model + message(2, bpe_with_bytes) + message(3, plain);
}

constexpr const char* kBlank = "\xE2\x96\x81";

// Not one that training makes: pieces and their order are drawn by chance, of two or three letters, so that
// most can be made in several ways, overlap, and are in each other's way; some cannot come about at all.
TEST(HuggingFace, GivesTheIdsOfSentencepieceWhateverThePiecesAndTheirOrder) {
  size_t num_pieces = 0, num_merges = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    const std::string letters = seed % 2 == 0 ? "ab" : "abc";
    const auto draw = [&](size_t least, size_t most) {
      std::string text;
      for (size_t i = least + random() % (most - least + 1); i > 0; --i)
        text += letters[random() % letters.size()];
      return text;
    };
    std::set<std::string> drawn;
    for (size_t i = 0; i < 5 + seed; ++i) drawn.insert(draw(2, 2 + seed % 6));
    std::vector<std::string> order(drawn.begin(), drawn.end());
    std::shuffle(order.begin(), order.end(), random);
    std::vector<std::pair<std::string, float>> pieces;
    for (const std::string& text : order) pieces.emplace_back(text, -static_cast<float>(pieces.size()));
    for (const char letter : letters) pieces.emplace_back(std::string(1, letter), -1000.0F);
    pieces.emplace_back(kBlank, -1000.0F);
    const std::string model = model_of(pieces);
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.LoadFromSerializedProto(model).ok());
    const PlainReader reader(hugging_face_files(Tokenizer(model, "drawn.model")).tokenizer);
    num_pieces += order.size();
    num_merges += reader.num_merges();
    for (int i = 0; i < 60; ++i) {
      const std::string text = draw(1, 40);
      const std::vector<int> ids = library.EncodeAsIds(text);
      ASSERT_EQ(reader.encode(text), std::vector<int32_t>(ids.begin(), ids.end()))
          << "seed " << seed << ": " << text;
    }
  }
  EXPECT_LT(num_merges, num_pieces) << "every piece can come about: the test is too easy";
  EXPECT_GT(2 * num_merges, num_pieces);
}

TEST(HuggingFace, IsRefusedWhereItCannotTellWhichPieceComesFirst) {
  const auto refusal_of = [](const std::vector<std::pair<std::string, float>>& pieces) {
    return refusal(Tokenizer(model_of(pieces), "made.model"));
  };
  EXPECT_EQ(refusal_of({{"ab", -1}, {"ba", -2}, {"a", -9}, {"b", -9}, {kBlank, -9}}), "none");
  EXPECT_THAT(refusal_of({{"ab", -1}, {"ba", -1}, {"a", -9}, {"b", -9}, {kBlank, -9}}),
              HasSubstr("the same score"));
  EXPECT_THAT(refusal_of({{"ab", -1}, {"a", -9}, {kBlank, -9}}), HasSubstr("not a piece itself"));
  EXPECT_THAT(refusal_of({{"ab", -1}, {"a", -9}, {"b", -9}}), HasSubstr("the space is not a piece"));
}

TEST(BytePairs, HaveAPieceForEveryIdAndOneMergeForEachThatComesAbout) {
  const BytePairs pairs =
      Tokenizer(model_of({{"ab", -2}, {"bab", -1}, {"abab", 0}, {"a", -9}, {"b", -9}, {kBlank, -9}}), "m")
          .byte_pairs();
  ASSERT_EQ(pairs.pieces.size(), 265U);
  EXPECT_EQ(pairs.pieces[1].text, "<s>");
  EXPECT_EQ(pairs.pieces[3 + 'A'].kind, BytePairs::Kind::kByte);
  EXPECT_EQ(pairs.pieces[264].text, " ");
  // "bab" needs "ab", and then its score says that it comes before: "abab" is made of "ab" and "ab" or of "a"
  // and "bab".
  std::vector<std::string> merges;
  for (const Bpe::Merge& merge : pairs.merges) {
    merges.push_back(pairs.pieces[static_cast<size_t>(merge.left)].text + "+" +
                     pairs.pieces[static_cast<size_t>(merge.right)].text);
  }
  EXPECT_THAT(merges, ElementsAre("ab+ab", "b+ab", "a+b"));
}

}  // namespace
}  // namespace ssgpt::tokenizer
