// Models that spm_train wrote with other settings, and files that are no models.

#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "tokenizer/corpus.h"
#include "tokenizer/protobuf.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

namespace ssgpt::tokenizer {
namespace {

using ::testing::HasSubstr;
using testing::train_foreign;

std::vector<int32_t> ids_of_library(const std::string& model, const std::string& text) {
  sentencepiece::SentencePieceProcessor processor;
  EXPECT_TRUE(processor.LoadFromSerializedProto(model).ok());
  const std::vector<int> ids = processor.EncodeAsIds(text);
  return {ids.begin(), ids.end()};
}

const std::string kSentence = "badi  kolu;\tna\xC3\xAFve 12 \xF0\x9F\x9A\x80 xyz.";

// The two characters are left out that a lossless model's tokenizer gives otherwise than sentencepiece, on
// purpose.
std::string without_special(std::string text) {
  for (const std::string& mark : {std::string("\xE2\x96\x81"), std::string(1, '\0')}) {
    for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos;) {
      text.erase(at, mark.size());
    }
  }
  return text;
}

// The trie's first places, at the beginning of the rules, lead to all others. sentencepiece itself crashes.
TEST(ForeignModel, OfDamagedRulesOfNormalisationIsRefused) {
  const TemporaryDirectory folder;
  const std::string model = train_foreign({{"model_type", "unigram"}});
  const size_t rules = model.find("nmt_nfkc");
  ASSERT_NE(rules, std::string::npos);
  int refused = 0;
  for (size_t place = rules + 8; place < rules + 8 + 200; ++place) {
    std::string damaged = model;
    damaged[place] = static_cast<char>(damaged[place] ^ 0x55);
    core::write_text_atomically(folder / "damaged.model", damaged);
    try {
      Tokenizer(folder / "damaged.model").encode(kSentence);
    } catch (const core::InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 5);
}

TEST(ForeignModel, IsEncodedAndDecodedAsSentencepieceDoes) {
  const std::vector<std::unordered_map<std::string, std::string>> kinds = {
      {{"model_type", "unigram"}},
      {{"model_type", "bpe"}},
      {{"model_type", "bpe"}, {"byte_fallback", "true"}},  // Llama 2's: a blank is put before the text
      {{"model_type", "unigram"},
       {"byte_fallback", "true"},
       {"normalization_rule_name", "identity"},
       {"add_dummy_prefix", "false"},
       {"remove_extra_whitespaces", "false"}},
      {{"model_type", "bpe"},
       {"byte_fallback", "true"},
       {"normalization_rule_name", "identity"},
       {"add_dummy_prefix", "false"},
       {"remove_extra_whitespaces", "false"},
       {"split_by_whitespace", "false"}},
      {{"model_type", "bpe"},
       {"byte_fallback", "true"},
       {"normalization_rule_name", "identity"},
       {"add_dummy_prefix", "false"},
       {"remove_extra_whitespaces", "false"},
       {"treat_whitespace_as_suffix", "true"}},
  };
  const TemporaryDirectory folder;
  for (const auto& kind : kinds) {
    const std::string model = train_foreign(kind);
    core::write_text_atomically(folder / "m.model", model);
    const Tokenizer tokenizer(folder / "m.model");
    EXPECT_EQ(tokenizer.encode(kSentence), ids_of_library(model, kSentence));
    sentencepiece::SentencePieceProcessor processor;
    ASSERT_TRUE(processor.LoadFromSerializedProto(model).ok());
    const std::vector<int32_t> ids = tokenizer.encode(kSentence);
    EXPECT_EQ(tokenizer.decode(ids), processor.DecodeIds(std::vector<int>(ids.begin(), ids.end())));
  }
}

// Encoding our models chunk by chunk, with a cache, must not change a single id.
TEST(OurModel, GivesTheIdsOfSentencepieceOnTheWholeText) {
  const TemporaryDirectory folder;
  train(testing::source_of(testing::make_documents(1, 200)), folder / "m.model", {.vocab_size = 700});
  const std::string model = core::read_text(folder / "m.model");
  const Tokenizer tokenizer(folder / "m.model");
  for (const std::string& document : testing::make_documents(12, 20)) {
    EXPECT_EQ(tokenizer.encode(document), ids_of_library(model, document));
  }
  for (uint64_t seed = 1000; seed < 1100; ++seed) {
    std::string text = testing::random_text(seed, 100);
    text = without_special(text);
    EXPECT_EQ(tokenizer.encode(text), ids_of_library(model, text)) << "seed " << seed;
  }
}

// Models that are encoded without sentencepiece: as Llama's, with a blank before the text; with pieces that
// are taken whole and overlap each other and the merged ones; and with characters that only bytes can give.
TEST(ForeignModel, BytePairsGiveTheIdsOfSentencepiece) {
  const std::unordered_map<std::string, std::string> common = {{"model_type", "bpe"},
                                                               {"byte_fallback", "true"},
                                                               {"normalization_rule_name", "identity"},
                                                               {"remove_extra_whitespaces", "false"}};
  const std::vector<std::unordered_map<std::string, std::string>> kinds = {
      {},
      {{"add_dummy_prefix", "false"}, {"user_defined_symbols", "ba,bad,<|end|>,\n,\n\n\n"}},
      {{"user_defined_symbols", "  ,   ,badi,i,<s"}, {"split_digits", "true"}},
      {{"user_defined_symbols", "badi,i,<s,lo"}},
      {{"character_coverage", "0.98"}, {"allow_whitespace_only_pieces", "true"}},
  };
  const TemporaryDirectory folder;
  for (auto kind : kinds) {
    kind.insert(common.begin(), common.end());
    const std::string model = train_foreign(kind);
    core::write_text_atomically(folder / "m.model", model);
    const Tokenizer tokenizer(folder / "m.model");
    std::vector<std::string> texts = testing::make_documents(13, 20);
    texts.insert(texts.end(), {"", " ", "\n", "\n\n\n\n a", "   \n", kSentence,
                               std::string(300, 'a') + std::string(300, ' '),
                               "badibabad<|end|>di  <s></s>di   x", "<s>\t<0x41>"});
    for (uint64_t seed = 2000; seed < 2100; ++seed) {
      const std::string text = testing::random_text(seed, 200);
      texts.push_back(kind.contains("add_dummy_prefix") ? without_special(text) : text);
    }
    for (const std::string& text : texts) {
      ASSERT_EQ(tokenizer.encode(text), ids_of_library(model, text)) << text;
    }
  }
}

TEST(ForeignModel, WithoutEosIsRefusedOnlyWhereEosIsNeeded) {
  const TemporaryDirectory folder;
  core::write_text_atomically(folder / "m.model",
                              train_foreign({{"model_type", "bpe"}, {"eos_id", "-1"}, {"bos_id", "-1"}}));
  const Tokenizer tokenizer(folder / "m.model");
  EXPECT_EQ(tokenizer.bos_id(), -1);
  EXPECT_FALSE(tokenizer.encode("badi").empty());
  EXPECT_THROW(tokenizer.eos_id(), core::InputError);
}

TEST(ModelFile, ThatIsNoModelIsRefusedByName) {
  const TemporaryDirectory folder;
  const std::string model = train_foreign({{"model_type", "bpe"}});
  const std::vector<std::string> contents = {"", "just text, no model\n", std::string(4096, '\0'),
                                             model.substr(0, model.size() / 2), "{\"model\": {}}"};
  for (const std::string& content : contents) {
    core::write_text_atomically(folder / "bad.model", content);
    try {
      const Tokenizer tokenizer(folder / "bad.model");
      ADD_FAILURE() << "accepted " << content.size() << " bytes";
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("bad.model"));
    }
  }
  EXPECT_THROW(Tokenizer(folder / "missing.model"), core::InputError);
}

// Field 1 of ModelProto, whose field 1 is the text; field 3 of a piece that is taken whole is 4.
std::string piece_of(const std::string& text, bool user_defined = false) {
  return message(1, message(1, text) + (user_defined ? "\x18\x04" : ""));
}

TEST(ForeignModel, WithAPieceBeyondAnyLengthOrCountOfPiecesIsRefused) {
  const TemporaryDirectory directory;
  const std::string model = train_foreign({{"model_type", "bpe"}, {"byte_fallback", "true"}});
  const auto message_of = [&](const std::string& more) -> std::string {
    core::write_text_atomically(directory / "t.model", model + more);
    try {
      return std::to_string(Tokenizer(directory / "t.model").vocab_size());
    } catch (const core::InputError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message_of(piece_of(std::string(512, 'x'))), "451");
  EXPECT_THAT(message_of(piece_of(std::string(1 << 20, 'x'))),
              HasSubstr("t.model: not a sentencepiece model of a tokenizer: a piece of 1048576 bytes"));
  for (const bool user_defined : {false, true}) {  // sentencepiece ends the texts of the latter at a NUL
    for (const std::string& text : {std::string(), std::string("\0a", 2), std::string("a\0", 2)})
      EXPECT_THAT(message_of(piece_of(text, user_defined)), HasSubstr("a piece is empty or holds a NUL"));
  }
  std::string many;
  for (int i = 0; i < (1 << 22); ++i) many += "\x0A\x03\x0A\x01x";
  EXPECT_THAT(message_of(many), HasSubstr("pieces, and 4194304 are the most"));
}

}  // namespace
}  // namespace ssgpt::tokenizer
