#include "core/json.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json_fields.h"
#include "core/temporary_directory.h"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

using testing::HasSubstr;

std::string repeat(const std::string& text, size_t times) {
  std::string result;
  for (size_t i = 0; i < times; ++i) result += text;
  return result;
}

// {"a":[[...[0]...]]} whose innermost bracket is the depth-th.
std::string nested(size_t depth) {
  return "{\"a\":" + std::string(depth - 1, '[') + "0" + std::string(depth - 1, ']') + "}";
}

std::string fault_of(const std::string& text) {
  std::string fault;
  const auto value = parse_json<nlohmann::json>(text, &fault);
  EXPECT_TRUE(value.is_discarded()) << text;
  return fault;
}

TEST(ParseJson, TakesAsManyLevelsAsAreAllowedAndNoMore) {
  EXPECT_TRUE(parse_json<nlohmann::json>(nested(kMaxJsonDepth)).is_object());
  EXPECT_EQ(fault_of(nested(kMaxJsonDepth + 1)), "JSON that nests more than 64 deep (column 69)");
  for (const char* bracket : {"[", "{\"a\":"}) {
    EXPECT_THAT(fault_of(repeat(bracket, 100'000)), HasSubstr("more than 64 deep")) << bracket;
    std::string fault;
    EXPECT_TRUE(parse_json<nlohmann::ordered_json>(repeat(bracket, 100'000), &fault).is_discarded());
  }
}

TEST(ParseJson, CountsNeitherBracketsInStringsNorThoseThatWereClosed) {
  const std::string text = "[\"" + repeat("\\\"[{", 1000) + "\"," + repeat("[],{},", 1000) + "0]";
  const auto value = parse_json<nlohmann::json>(text);
  ASSERT_EQ(value.size(), 2002U);
  EXPECT_EQ(value[0].get<std::string>(), repeat("\"[{", 1000));
}

TEST(ParseJson, OfAKeyThatIsListedTwiceTheLastCounts) {
  const std::string text = "{\"a\": 1, \"b\": 2, \"a\": 3}";
  EXPECT_EQ(parse_json<nlohmann::json>(text)["a"], 3);
  EXPECT_EQ(parse_json<nlohmann::ordered_json>(text)["a"], 3);
}

TEST(ParseJson, SaysWhyATextIsNoneInWordsOfItsOwn) {
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"", "not JSON: it is empty"},
      {" \n ", "not JSON: it is empty"},
      {"{\"a\": 1", "not JSON: it ends too early"},
      {"{\"a\": tru}", "not JSON (column 10)"},
      {"{\n \"a\": 1,\n \"b\" 2}", "not JSON (line 3, column 6)"},
      {"{\"a\": NaN}", "not JSON, which has no NaN (column 7)"},
      {"{\"a\": Infinity}\n", "not JSON, which has no Infinity (column 7)"},
      {"{\"a\": -Infinity}", "not JSON, which has no Infinity (column 8)"},
      {"{\"a\": 1e999}", "JSON with a number that is too large for a double (1.8e308 is the largest)"},
      {"{\"a\": \"\\ud83d\"}", "not JSON (column 14)"}};
  for (const auto& [text, fault] : faults) EXPECT_EQ(fault_of(text), fault) << text;
}

TEST(ReadJson, NamesTheFileAndRefusesOneThatIsTooLarge) {
  const TemporaryDirectory directory;
  const auto message = [&](const std::string& text, uint64_t max_bytes) -> std::string {
    write_text_atomically(directory / "f.json", text);
    try {
      return read_json<nlohmann::json>(directory / "f.json", max_bytes).dump();
    } catch (const InputError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(message("[1, 2]", 6), "[1,2]");
  EXPECT_THAT(message("[1, 23]", 6), HasSubstr("f.json: larger than 6 B"));
  EXPECT_THAT(message("[1, 2", 6), HasSubstr("f.json: not JSON: it ends too early: the file is damaged"));
}

TEST(JsonText, HoldsBytesThatAreNotUtf8AsReplacements) {
  const nlohmann::json value = {{"path", "a\xff"}};
  EXPECT_EQ(json_text(value), "{\"path\":\"a\xEF\xBF\xBD\"}");
  EXPECT_EQ(json_text(value, 1), "{\n \"path\": \"a\xEF\xBF\xBD\"\n}");
}

TEST(JsonFields, QuoteTheBeginningOfAValueThatIsNotWhatIsExpected) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "f.json",
                        "{\"n\": \"\\u001b[31m" + std::string(1 << 20, 'x') + "\", \"deep\": [[1]]}");
  const JsonFields fields(directory / "f.json");
  try {
    fields.integer("n");
    FAIL();
  } catch (const InputError& error) {
    const std::string message = error.what();
    EXPECT_LT(message.size(), 600U);
    EXPECT_THAT(message, HasSubstr("f.json: 'n' is \"\\u001b[31mxxx"));
    EXPECT_THAT(message, HasSubstr("xxx... (1023.8 KiB more), where an integer is expected"));
  }
}

TEST(JsonFields, SayWhatIsExpectedAndWhyInSentences) {
  const TemporaryDirectory directory;
  write_text_atomically(directory / "f.json", R"({"n": 3, "inner": {"none": null}})");
  const JsonFields fields(directory / "f.json");
  const auto message = [&](const JsonFields& of, const char* key, const char* reason) -> std::string {
    try {
      of.fail(key, "2", reason);
    } catch (const InputError& error) {
      return std::string(error.what()).substr((directory / "f.json").string().size());
    }
    return "";
  };
  EXPECT_EQ(message(fields, "n", ""), ": 'n' is 3, where 2 is expected");
  EXPECT_EQ(message(fields, "n", "it is even"), ": 'n' is 3, where 2 is expected: it is even");
  const JsonFields inner = fields.object("inner");
  EXPECT_EQ(message(inner, "none", ""), ": 'inner.none' is null, where 2 is expected");
  EXPECT_EQ(message(inner, "n", ""), ": 'inner.n' is missing, where 2 is expected");
  EXPECT_TRUE(inner.is_null("none") && !inner.is_null("n") && !fields.is_null("n"));
  EXPECT_FALSE(inner.has("none"));
}

}  // namespace
}  // namespace ssgpt::core
