#include "tokenizer/continuation.h"

#include "core/file.h"
#include "core/temporary_directory.h"
#include "tokenizer/corpus.h"

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::tokenizer {
namespace {

using Ids = std::vector<int32_t>;

const std::unordered_map<std::string, std::string> kLlama = {{"model_type", "bpe"},
                                                             {"byte_fallback", "true"},
                                                             {"normalization_rule_name", "identity"},
                                                             {"remove_extra_whitespaces", "false"}};

Tokenizer llama_tokenizer(const TemporaryDirectory& folder) {
  core::write_text_atomically(folder / "m.model", testing::train_foreign(kLlama));
  return Tokenizer(folder / "m.model");
}

Ids joined(Ids one, const Ids& other) {
  one.insert(one.end(), other.begin(), other.end());
  return one;
}

const std::vector<std::pair<std::string, std::string>> kPairs = {
    {"badi kolu:", " badi"}, {"badi:", "kolu"}, {"badi: ", "kolu"}, {"badi:\n", "kolu"}, {"badi", "\nkolu"},
    {"badi\n", "\n\nkolu"},  {"ba", "di"},      {"badi.", ".kolu"}, {"\xC3\xA9", " 12"}, {"\n", "\n"}};

// A blank that is put before each text for itself would be one more in the text of the whole.
TEST(Continuation, StandsForTheTextOfTheWhole) {
  const TemporaryDirectory folder;
  const Tokenizer llama = llama_tokenizer(folder);
  for (const Tokenizer* tokenizer : {&llama, &testing::shared_tokenizer()}) {
    for (const auto& [context, text] : kPairs) {
      const Ids before = tokenizer->encode(context);
      const Ids behind = encode_after(*tokenizer, context, before, text);
      EXPECT_EQ(tokenizer->decode(joined(before, behind)), context + text) << context << "|" << text;
      const auto unjoined = encode_behind(*tokenizer, context, before, text);
      if (!unjoined) continue;
      EXPECT_EQ(joined(before, *unjoined), tokenizer->encode(context + text));
      EXPECT_EQ(*unjoined, behind);
    }
  }
}

TEST(Continuation, HasNoBlankMoreBehindAPromptAndSaysWhereTextsAreJoined) {
  const TemporaryDirectory folder;
  const Tokenizer llama = llama_tokenizer(folder);
  const Ids before = llama.encode("kolu:");
  // For itself the answer has two blanks.
  EXPECT_EQ(llama.decode(joined(before, llama.encode(" badi"))), "kolu:  badi");
  const auto behind = encode_behind(llama, "kolu:", before, " badi");
  ASSERT_TRUE(behind.has_value());
  EXPECT_EQ(*behind, llama.encode("badi"));  // whose blank is the one that is put there
  // A blank goes to the word behind it.
  EXPECT_EQ(encode_behind(llama, "kolu: ", llama.encode("kolu: "), "badi"), std::nullopt);
  EXPECT_EQ(encode_behind(llama, "", {}, "badi"), std::nullopt);
}

// A piece of two line breaks joins both texts, and the first neutral context as well.
TEST(Continuation, OfOurModelsIsWhatTheyGiveForItself) {
  const Tokenizer& ours = testing::shared_tokenizer();
  for (const auto& [context, text] : kPairs) {
    EXPECT_EQ(encode_after(ours, context, ours.encode(context), text), ours.encode(text)) << text;
  }
}

}  // namespace
}  // namespace ssgpt::tokenizer
