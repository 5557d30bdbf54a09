#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "tokenizer/corpus.h"
#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::tokenizer {
namespace {

using ::testing::HasSubstr;
using testing::make_documents;
using testing::source_of;

std::string message_of_input_error(const std::vector<std::string>& documents, int64_t vocab_size) {
  const TemporaryDirectory folder;
  try {
    train(source_of(documents), folder / "m.model", {.vocab_size = vocab_size});
  } catch (const core::InputError& error) {
    EXPECT_FALSE(std::filesystem::exists(folder / "m.model"));
    return error.what();
  }
  return "trained";
}

TEST(Train, VocabularyIsExactlyAsAskedAndItsPiecesDiffer) {
  const TemporaryDirectory folder;
  for (const int64_t vocab_size : {400, 512, 1001}) {
    train(source_of(make_documents(3, 100)), folder / "m.model", {.vocab_size = vocab_size});
    const Tokenizer tokenizer(folder / "m.model");
    EXPECT_EQ(tokenizer.vocab_size(), vocab_size);
    EXPECT_EQ(tokenizer.bos_id(), 1);
    EXPECT_EQ(tokenizer.eos_id(), 2);
    EXPECT_EQ(tokenizer.piece(0), "<unk>");
    std::set<std::string> pieces;
    for (int32_t id = 0; id < vocab_size; ++id) {
      pieces.insert(tokenizer.piece(id));
    }
    EXPECT_EQ(pieces.size(), static_cast<size_t>(vocab_size));
  }
}

TEST(Train, SmallTextNamesTheLargestVocabularyWhichThenWorks) {
  const std::vector<std::string> documents = make_documents(4, 2);
  const std::string message = message_of_input_error(documents, 20'000);
  const size_t at = message.find("at most ");
  ASSERT_NE(at, std::string::npos) << message;
  const int64_t largest = std::stoll(message.substr(at + 8));
  EXPECT_THAT(message_of_input_error(documents, largest + 1),
              HasSubstr("at most " + std::to_string(largest)));
  EXPECT_EQ(message_of_input_error(documents, largest), "trained");
}

TEST(Train, VocabularyBelowTheAlphabetNamesWhatTheAlphabetTakes) {
  std::string many_letters;
  for (int letter = 0; letter < 400; ++letter) {
    many_letters += {static_cast<char>(0xE4), static_cast<char>(0xB8 + letter / 64),
                     static_cast<char>(0x80 + letter % 64)};
  }
  EXPECT_THAT(message_of_input_error({many_letters}, 300), HasSubstr("alone take 66"));
}

TEST(Train, RefusesImpossibleVocabulariesAndEmptyText) {
  const TemporaryDirectory folder;
  for (const int64_t vocab_size : {-1, 0, 100, 262}) {
    EXPECT_THROW(train(source_of(make_documents(1, 1)), folder / "m.model", {.vocab_size = vocab_size}),
                 core::UsageError);
  }
  EXPECT_THAT(message_of_input_error({}, 400), HasSubstr("empty"));
  EXPECT_THAT(message_of_input_error({"", "\n\n"}, 400), HasSubstr("empty"));
  EXPECT_THAT(message_of_input_error({"ab\xFF"}, 400), HasSubstr("UTF-8"));
}

TEST(Train, SameTextGivesTheSameFile) {
  const TemporaryDirectory folder;
  const TrainOptions options{.vocab_size = 500, .max_bytes = 40'000, .seed = 5};
  train(source_of(make_documents(6, 100)), folder / "a.model", options);
  train(source_of(make_documents(6, 100)), folder / "b.model", options);
  EXPECT_EQ(core::read_text(folder / "a.model"), core::read_text(folder / "b.model"));
  TrainOptions other = options;
  other.seed = 6;
  train(source_of(make_documents(6, 100)), folder / "c.model", other);
  EXPECT_NE(core::read_text(folder / "a.model"), core::read_text(folder / "c.model"));
}

// sentencepiece would skip a line above its limit, and refuse to save a model with two pieces of one name.
TEST(Train, LearnsFromEndlessLinesAndTextFullOfReservedNames) {
  const TemporaryDirectory folder;
  std::string endless;
  std::string reserved;
  for (int i = 0; i < 20'000; ++i) {
    endless += "zebu quagga ";
    reserved += "<s>gnu</s> <unk> <0x0A> \xE2\x96\x81x\xE2\x96\x85\t";
  }
  train(source_of({endless, reserved}), folder / "m.model", {.vocab_size = 290});
  const Tokenizer tokenizer(folder / "m.model");
  EXPECT_EQ(tokenizer.encode(" zebu").size(), 1u);
  EXPECT_EQ(tokenizer.encode(" quagga").size(), 1u);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(reserved)), reserved);
}

TEST(Train, MakesTheFolderOfTheOutputOrSaysWhyNot) {
  const TemporaryDirectory folder;
  train(source_of(make_documents(1, 20)), folder / "new" / "folder" / "m.model", {.vocab_size = 400});
  EXPECT_EQ(Tokenizer(folder / "new" / "folder" / "m.model").vocab_size(), 400);
  bool asked = false;
  const DocumentSource source = [&](std::string&) {
    asked = true;
    return false;
  };
  EXPECT_THROW(train(source, "/proc/no/such/m.model", {.vocab_size = 400}), core::RunError);
  EXPECT_FALSE(asked);  // found out before the text is read
}

}  // namespace
}  // namespace ssgpt::tokenizer
