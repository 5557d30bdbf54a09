// decode(encode(x)) == x for every valid UTF-8 text, and what happens to text and ids that are not valid.

#include "core/error.h"
#include "tokenizer/corpus.h"
#include "tokenizer/tokenizer.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::shared_tokenizer;

void expect_round_trip(const std::string& text) {
  EXPECT_EQ(shared_tokenizer().decode(shared_tokenizer().encode(text)), text);
}

class HostileText : public ::testing::TestWithParam<std::string> {};

TEST_P(HostileText, ComesBackUnchanged) {
  expect_round_trip(GetParam());
}

using namespace std::string_literals;

INSTANTIATE_TEST_SUITE_P(
    RoundTrip, HostileText,
    ::testing::Values(""s, " "s, "     "s, "\n"s, "\n\n\n\n\n"s, "\t\t x"s, "\r\n\r\n"s,
                      "  lead and trail  "s, "a  b   c    d"s, "\xE2\x96\x81"s,
                      "\xE2\x96\x81\xE2\x96\x81 a\xE2\x96\x81"s, " \xE2\x96\x81 x \xE2\x96\x81"s,
                      "\xE2\x96\x85"s, "\0"s, "a\0b\0\0 c"s, "<s></s><unk>"s, "<s> </s> <unk> <0x0A><0xE2>"s,
                      "\xEF\xBB\xBFwith a mark"s, "e\xCC\x81\xCC\x81"s,
                      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80"s, "\xF4\x8F\xBF\xBF\xEE\x80\x80"s,
                      "\xEF\xBF\xBD replacement"s, "\xC2\xA0\xE2\x80\x83\xE3\x80\x80"s, "\x01\x02\x1F\x7F"s,
                      "\xEF\xAC\x81 \xEF\xBC\xA1 \xE2\x84\xAB"s,  // NFKC would change all of these
                      "3.14159 2024-01-01 0x1F"s));

TEST(RoundTrip, RandomUnicodeComesBackUnchanged) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const std::string text = testing::random_text(seed, 200);
    ASSERT_EQ(shared_tokenizer().decode(shared_tokenizer().encode(text)), text) << "seed " << seed;
  }
}

TEST(RoundTrip, EveryCharacterComesBackUnchanged) {
  std::string text;
  for (const std::string& document : testing::make_documents(9, 2)) {
    text += document;
  }
  expect_round_trip(text);
  for (int byte = 0; byte < 128; ++byte) {
    expect_round_trip(std::string(1, static_cast<char>(byte)));
  }
}

// Each would take minutes if the time were quadratic in the length; the limit is generous for a slow machine.
TEST(RoundTrip, LongTextTakesLinearTime) {
  std::string unbroken, marks, blanks(2'000'000, ' '), breaks(2'000'000, '\n'), wide;
  for (int i = 0; i < 1'000'000; ++i) {
    unbroken += static_cast<char>('a' + i * 7 % 26);
  }
  for (int i = 0; i < 300'000; ++i) {
    marks += "x\xE2\x96\x81";
    wide += "\xE6\x97\xA5";
  }
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& text : {unbroken, marks, blanks, breaks, wide}) {
    const std::vector<int32_t> ids = shared_tokenizer().encode(text);
    ASSERT_TRUE(shared_tokenizer().decode(ids) == text);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(RoundTrip, ThreadsShareOneTokenizer) {
  const std::string text = testing::random_text(77, 2000);
  const std::vector<int32_t> expected = shared_tokenizer().encode(text);
  std::vector<std::vector<int32_t>> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    threads.emplace_back([&] { result = shared_tokenizer().encode(text); });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (const auto& result : results) {
    EXPECT_EQ(result, expected);
  }
}

TEST(Encode, ReservedNamesInTextAreText) {
  for (const char* text : {"<s>", "</s>", "<unk>", "<0x0A>"}) {
    for (const int32_t id : shared_tokenizer().encode(text)) {
      EXPECT_GT(id, 2) << text;
      EXPECT_NE(shared_tokenizer().piece(id), "<0x0A>");
    }
  }
}

TEST(Encode, LineBreaksAndDigitsAreTokensOfTheirOwn) {
  const Tokenizer& tokenizer = shared_tokenizer();
  std::vector<std::string> texts;
  for (const int32_t id : tokenizer.encode("\n\n\n12\t")) {
    texts.push_back(tokenizer.decode(std::vector<int32_t>{id}));
  }
  EXPECT_THAT(texts, ElementsAre("\n\n", "\n", "1", "2", "\t"));
}

TEST(Encode, RefusesInvalidUtf8AtItsPosition) {
  for (const std::string text : {"good\xFF", "good\xC3", "good\xED\xA0\x80", "good\xC0\x80"}) {
    try {
      shared_tokenizer().encode(text);
      FAIL() << "accepted";
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("byte 4"));
    }
  }
}

TEST(Decode, RefusesIdsOutsideTheVocabulary) {
  const auto vocab_size = static_cast<int32_t>(shared_tokenizer().vocab_size());
  EXPECT_THROW(shared_tokenizer().decode(std::vector<int32_t>{5, vocab_size}), core::InputError);
  EXPECT_THROW(shared_tokenizer().decode(std::vector<int32_t>{-1}), core::InputError);
  EXPECT_THROW(shared_tokenizer().piece(vocab_size), core::InputError);
}

TEST(Decode, BosAndEosAreNothingAndHalfCharactersAreReplaced) {
  const Tokenizer& tokenizer = shared_tokenizer();
  std::vector<int32_t> ids = tokenizer.encode("ba di");
  ids.insert(ids.begin(), tokenizer.bos_id());
  ids.push_back(tokenizer.eos_id());
  EXPECT_EQ(tokenizer.decode(ids), "ba di");

  std::vector<int32_t> rocket = tokenizer.encode("\xF0\x9F\x9A\x80");
  ASSERT_EQ(rocket.size(), 4u);
  rocket.pop_back();
  EXPECT_EQ(tokenizer.decode(rocket), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace ssgpt::tokenizer
