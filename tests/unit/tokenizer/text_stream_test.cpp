#include "tokenizer/text_stream.h"

#include "core/file.h"
#include "core/random.h"
#include "core/temporary_directory.h"
#include "core/text.h"
#include "tokenizer/corpus.h"

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace ssgpt::tokenizer {
namespace {

// A tokenizer of the bytes and a few words: most of the text below falls back to bytes.
class Stream : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory = new TemporaryDirectory;
    int documents = 0;
    const auto source = [&documents](std::string& text) {
      text = "In the beginning was the word, and the word was with the others. ";
      return documents++ < 50;
    };
    const std::filesystem::path path = directory->path() / "t.model";
    train(source, path, {.vocab_size = 290});
    model = new Tokenizer(path);
  }
  static void TearDownTestSuite() {
    delete model;
    delete directory;
  }

  static std::vector<int64_t> encode(std::string_view text) {
    const std::vector<int32_t> ids = model->encode(text);
    return {ids.begin(), ids.end()};
  }

  static std::string decode(const std::vector<int64_t>& tokens) {
    return model->decode(std::vector<int32_t>(tokens.begin(), tokens.end()));
  }

  // The parts that the stream hands out, the last being what it held back.
  static std::vector<std::string> parts(const std::vector<int64_t>& tokens,
                                        const std::vector<int64_t>& context = {}) {
    TextStream stream(*model, context);
    std::vector<std::string> result;
    for (const int64_t token : tokens) result.push_back(stream.push(token));
    result.push_back(stream.finish());
    for (const std::string& part : result) EXPECT_FALSE(core::find_invalid_utf8(part)) << part;
    return result;
  }

  static std::string joined(const std::vector<std::string>& parts_of_text) {
    std::string text;
    for (const std::string& part : parts_of_text) text += part;
    return text;
  }

  static int64_t byte(unsigned value) {
    for (int32_t id = 0; id < model->vocab_size(); ++id) {
      if (model->piece(id) == fmt::format("<0x{:02X}>", value)) return id;
    }
    ADD_FAILURE() << "no piece for byte " << value;
    return 0;
  }

  static TemporaryDirectory* directory;
  static Tokenizer* model;
};
TemporaryDirectory* Stream::directory = nullptr;
Tokenizer* Stream::model = nullptr;

TEST_F(Stream, HandsOutACharacterWithItsLastByte) {
  const std::vector<int64_t> euro = {byte(0xE2), byte(0x82), byte(0xAC)};
  EXPECT_EQ(parts(euro), (std::vector<std::string>{"", "", "€", ""}));
  const std::vector<int64_t> face = {byte(0xF0), byte(0x9F), byte(0x98), byte(0x80), byte(0x21)};
  EXPECT_EQ(parts(face), (std::vector<std::string>{"", "", "", "😀", "!", ""}));
  EXPECT_EQ(parts({byte(0xC3), byte(0xA9)}), (std::vector<std::string>{"", "é", ""}));
}

TEST_F(Stream, ShowsBytesOfNoCharacterWhenThatIsCertain) {
  EXPECT_EQ(joined(parts({byte(0xE2), byte(0x82)})), "\uFFFD\uFFFD") << "an end in the middle of a character";
  EXPECT_EQ(parts({byte(0x80)})[0], "\uFFFD") << "no character begins like that: nothing to wait for";
  EXPECT_EQ(parts({byte(0xE2), byte(0x41)})[1],
            "\uFFFD"
            "A");
  EXPECT_EQ(parts({byte(0xE2), model->eos_id()})[1], "\uFFFD");
}

TEST_F(Stream, AllPartsTogetherAreTheDecoding) {
  for (const std::string_view text :
       {"In the beginning", " the word", "naïve café — 日本語 😀😀 x", "\n\n  \t "}) {
    EXPECT_EQ(joined(parts(encode(text))), text);
  }
  for (uint64_t seed = 0; seed < 300; ++seed) {  // mostly bytes that make no sense
    std::vector<int64_t> tokens;
    for (uint64_t i = 0; i < 40; ++i)
      tokens.push_back(static_cast<int64_t>(core::random_bits(seed, i) % 290));
    EXPECT_EQ(joined(parts(tokens)), decode(tokens)) << "seed " << seed;
  }
}

TEST_F(Stream, GoesOnWhereTheContextEnds) {
  const std::vector<int64_t> context = encode("In the");
  const std::vector<int64_t> word = encode(" beginning");
  EXPECT_EQ(joined(parts(word, context)), " beginning");
  // A character that the context began is not completed: the text of the new tokens is theirs alone.
  EXPECT_EQ(joined(parts({byte(0x82), byte(0xAC), byte(0x41)}, {byte(0xE2)})),
            "\uFFFD\uFFFD"
            "A");
}

TEST_F(Stream, ShowsIdsBeyondTheVocabulary) {
  EXPECT_EQ(joined(parts({byte(0x41), byte(0xE2), 290, byte(0x42)}, {1000})),
            "A\uFFFD\uFFFD"
            "B");
}

// Llama 2's kind: a blank stands before the text, and decoding leaves it out.
TEST(StreamOfModelWithDummyPrefix, AllPartsTogetherAreTheDecoding) {
  const TemporaryDirectory folder;
  core::write_text_atomically(
      folder / "m.model",
      testing::train_foreign({{"model_type", "bpe"}, {"byte_fallback", "true"}, {"vocab_size", "450"}}));
  const Tokenizer tokenizer(folder / "m.model");
  const auto stream = [&](std::span<const int64_t> context, std::span<const int64_t> tokens) {
    TextStream parts(tokenizer, context);
    std::string text;
    for (const int64_t token : tokens) text += parts.push(token);
    return text + parts.finish();
  };
  const auto decode = [&](std::span<const int64_t> tokens) {
    return tokenizer.decode(std::vector<int32_t>(tokens.begin(), tokens.end()));
  };
  const int64_t eos = tokenizer.eos_id();
  const int64_t bos = tokenizer.bos_id();
  int64_t word = 0;
  int64_t blank = 0;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string piece = tokenizer.piece(id);
    if (piece == "\u2581") blank = id;
    if (piece.starts_with("\u2581") && piece.size() > 4) word = id;
  }
  ASSERT_TRUE(word > 0 && blank > 0);
  const std::vector<int64_t> of_interest = {word, blank, eos, bos, word, eos, eos, blank};
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::vector<int64_t> tokens;
    for (uint64_t i = 0; i < 12; ++i) tokens.push_back(of_interest[core::random_bits(seed, i) % 8]);
    EXPECT_EQ(stream({}, tokens), decode(tokens)) << "seed " << seed;
    for (size_t begin = 1; begin < tokens.size(); ++begin) {
      const std::span<const int64_t> all(tokens);
      const std::span<const int64_t> context = all.first(begin);
      EXPECT_EQ(decode(context) + stream(context, all.subspan(begin)), decode(all)) << "seed " << seed;
    }
  }
  const std::vector<int64_t> controls(10, eos);
  std::vector<int64_t> context = {word};
  context.insert(context.end(), controls.begin(), controls.end());
  EXPECT_TRUE(stream(context, std::vector<int64_t>{word}).starts_with(' '));
}

}  // namespace
}  // namespace ssgpt::tokenizer
