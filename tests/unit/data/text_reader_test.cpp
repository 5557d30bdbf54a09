#include "data/text_reader.h"

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_text;
using testing::write_file;
using testing::zstd_frame;

std::vector<std::string> read_all(TextReader& reader) {
  std::vector<std::string> documents;
  std::string text;
  while (reader.next(text)) {
    documents.push_back(text);
  }
  return documents;
}

class Text : public ::testing::Test {
 protected:
  std::vector<std::string> read(const std::string& name, const std::string& bytes,
                                const TextOptions& options = {}) {
    write_file(folder_ / name, bytes);
    TextReader reader({folder_ / name}, options);
    auto documents = read_all(reader);
    EXPECT_EQ(reader.bytes_read(), reader.bytes_total());
    left_out_ = reader.left_out();
    return documents;
  }

  std::string refusal(const std::string& name, const std::string& bytes, const TextOptions& options = {}) {
    return message_of<core::InputError>([&] { read(name, bytes, options); });
  }

  const TemporaryDirectory folder_;
  LeftOut left_out_;
};

TEST_F(Text, JsonLinesGiveTheirTextField) {
  const std::string lines =
      "{\"text\": \"one\", \"meta\": {\"text\": \"no\"}}\r\n\n  \n"
      "{\"meta\": 1, \"text\": \"two\\n\\u00e9 \\ud83d\\ude80\\u0000\"}\n"
      "{\"text\":\"last, without a line break\"}";
  EXPECT_THAT(read("a.jsonl", lines), ElementsAre("one", std::string("two\n\xC3\xA9 \xF0\x9F\x9A\x80\0", 12),
                                                  "last, without a line break"));
  TextOptions options;
  options.field = "content";
  EXPECT_THAT(read("b.jsonl", "{\"content\": \"x\", \"text\": \"y\"}\n", options), ElementsAre("x"));
}

TEST_F(Text, EmptyDocumentsAreLeftOutAndCounted) {
  EXPECT_THAT(read("a.jsonl", "{\"text\": \"\"}\n{\"text\": \" \\n\"}\n{\"text\": \"x\"}\n"),
              ElementsAre("x"));
  EXPECT_EQ(left_out_.empty, 2);
  EXPECT_THAT(read("empty.txt", ""), IsEmpty());
  EXPECT_THAT(read("empty.jsonl", ""), IsEmpty());
}

TEST_F(Text, LongLinesAndManyLinesCrossTheBuffer) {
  std::string bytes;
  std::vector<std::string> expected;
  for (int i = 0; i < 40; ++i) {
    // Lengths around the reader's buffer of 1 MiB, and far above it.
    expected.push_back(make_text(static_cast<uint64_t>(i), 1) +
                       std::string(static_cast<size_t>(i % 8) * 262'140, 'x'));
    bytes += nlohmann::json({{"text", expected.back()}}).dump() + "\n";
  }
  EXPECT_TRUE(read("long.jsonl", bytes) == expected);
  EXPECT_TRUE(read("long.jsonl.zst", zstd_frame(bytes)) == expected);
}

TEST_F(Text, ConcatenatedFramesAreOneFile) {
  const std::string lines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
  const std::string skippable = std::string("\x50\x2A\x4D\x18\x04\x00\x00\x00", 8) + "skip";
  EXPECT_THAT(read("a.jsonl.zst",
                   zstd_frame(lines.substr(0, 7)) + skippable + zstd_frame("") + zstd_frame(lines.substr(7))),
              ElementsAre("one", "two"));
  EXPECT_THAT(read("a.txt.zst", zstd_frame("plain\n")), ElementsAre("plain\n"));
}

TEST_F(Text, TruncatedOrDamagedZstdIsLocated) {
  const std::string frame = zstd_frame(make_text(1, 5000));
  for (const size_t length : {size_t{1}, size_t{3}, frame.size() / 2, frame.size() - 1}) {
    const std::string message = refusal("cut.txt.zst", frame.substr(0, length));
    EXPECT_THAT(message, HasSubstr("truncated"));
    EXPECT_THAT(message, HasSubstr("byte " + std::to_string(length)));
    EXPECT_THAT(message, HasSubstr("cut.txt.zst"));
  }
  EXPECT_THAT(refusal("two.txt.zst", frame + frame.substr(0, 100)), HasSubstr("truncated"));
  EXPECT_THAT(refusal("empty.txt.zst", ""), HasSubstr("truncated"));
  EXPECT_THAT(refusal("plain.jsonl.zst", "{\"text\": \"not compressed\"}\n"), HasSubstr("damaged zstd data"));
  std::string damaged = frame;
  damaged[frame.size() / 2] = static_cast<char>(damaged[frame.size() / 2] ^ 0x55);
  damaged[4] = static_cast<char>(damaged[4] ^ 0xFF);
  EXPECT_THAT(refusal("damaged.txt.zst", damaged), HasSubstr("damaged.txt.zst"));
}

TEST_F(Text, BadJsonLinesAreRefusedWithFileAndLine) {
  const std::string good = "{\"text\": \"fine\"}\n";
  const std::vector<std::pair<std::string, std::string>> kinds = {
      {"not json", "not JSON"},
      {"{\"text\": \"x\"} more", "not JSON"},
      {"{\"text\": \"x\"", "not JSON"},
      {"[1, 2]", "not a JSON object"},
      {"{\"txt\": \"x\"}", "no field \"text\""},
      {"{\"text\": 5}", "not a string"},
      {"{\"text\": null}", "not a string"},
      {"{\"text\": \"\xFF\"}", "UTF-8"},
      {"{\"text\": \"\\ud800\"}", "bad.jsonl:3"},
  };
  for (const auto& [line, reason] : kinds) {
    const std::string bytes = good + "\n" + line + "\n" + good;
    const std::string message = refusal("bad.jsonl", bytes);
    EXPECT_THAT(message, HasSubstr("bad.jsonl:3: ")) << line;
    EXPECT_THAT(message, HasSubstr(reason)) << line;

    TextOptions options;
    options.on_bad = OnBad::kSkip;
    EXPECT_THAT(read("bad.jsonl", bytes, options), ElementsAre("fine", "fine")) << line;
    EXPECT_EQ(left_out_.bad, 1);
    EXPECT_THAT(left_out_.first_bad, ElementsAre(HasSubstr("bad.jsonl:3: ")));
  }
}

TEST_F(Text, PlainTextIsCutAtParagraphsAndNothingIsLost) {
  const std::string text = make_text(3, 2000);
  TextOptions options;
  options.split_documents_at = 4000;
  const auto documents = read("a.txt", text, options);
  std::string joined;
  for (const std::string& document : documents) {
    joined += document;
    if (&document != &documents.back()) {
      EXPECT_GE(document.size(), 4000u);
      EXPECT_LT(document.size(), 5000u);
      EXPECT_TRUE(document.ends_with("\n\n"));
    }
  }
  EXPECT_TRUE(joined == text);
  EXPECT_GT(documents.size(), text.size() / 5000);

  options.split_documents_at = 0;
  EXPECT_EQ(read("a.txt", text, options).size(), 1u);
}

TEST_F(Text, PlainTextWithoutBlankLinesOrWithoutLinesIsCutAsWell) {
  std::string lines;
  std::string words;
  std::string unbroken;
  for (int i = 0; i < 30'000; ++i) {
    lines += "a line\n";
    words += "word ";
    unbroken += "\xE6\x97\xA5";  // no part may end inside a character
  }
  TextOptions options;
  options.split_documents_at = 1000;
  for (const std::string& text : {lines, words, unbroken}) {
    const auto documents = read("a.txt", text, options);
    EXPECT_GT(documents.size(), text.size() / 3000);
    std::string joined;
    for (const std::string& document : documents) {
      EXPECT_LE(document.size(), 3000u);
      joined += document;
    }
    EXPECT_TRUE(joined == text);
  }
  for (const std::string& document : read("a.txt", words, options)) {
    EXPECT_TRUE(document.starts_with("word") || document.starts_with(" word")) << document.substr(0, 10);
  }
}

TEST_F(Text, SeparatorLinesEndDocuments) {
  TextOptions options;
  options.document_separator = "<|endoftext|>";
  EXPECT_THAT(read("a.txt", "one\ntwo\n<|endoftext|>\r\n<|endoftext|>\nthree <|endoftext|>\n<|endoftext|>\n",
                   options),
              ElementsAre("one\ntwo\n", "three <|endoftext|>\n"));
  EXPECT_EQ(left_out_.empty, 1);
}

TEST_F(Text, LineBreaksStayAsTheyAreAndTheByteOrderMarkGoes) {
  EXPECT_THAT(read("a.txt", "\xEF\xBB\xBFone\r\ntwo \xEF\xBB\xBF\r\n"),
              ElementsAre("one\r\ntwo \xEF\xBB\xBF\r\n"));
  EXPECT_THAT(read("a.jsonl", "\xEF\xBB\xBF{\"text\": \"x\"}\r\n"), ElementsAre("x"));
}

TEST_F(Text, InvalidUtf8InPlainTextIsLocatedByItsByte) {
  std::string text = make_text(4, 1000);
  text[20'000] = '\xFF';
  EXPECT_THAT(refusal("a.txt", text), HasSubstr("a.txt: not valid UTF-8 at byte 20000 (0xFF)"));
  TextOptions options;
  options.on_bad = OnBad::kSkip;
  EXPECT_GT(read("a.txt", text, options).size(), 1u);
  EXPECT_EQ(left_out_.bad, 1);
}

TEST_F(Text, ForeignFilesAreRefused) {
  EXPECT_THAT(refusal("a.txt", "\x1F\x8B\x08..."), HasSubstr("gzip"));
  EXPECT_THAT(refusal("a.jsonl", zstd_frame("{}")), HasSubstr("must end in .zst"));
  write_file(folder_ / "a.csv", "text");
  EXPECT_THAT(message_of<core::UsageError>([&] { TextReader reader({folder_ / "a.csv"}, {}); }),
              HasSubstr(".jsonl"));
  EXPECT_THROW(TextReader({folder_ / "missing.txt"}, {}), core::InputError);
  EXPECT_THROW(TextReader({}, {}), core::UsageError);
}

// The results of Python's json.loads for the same lines.
TEST_F(Text, JsonLinesAreReadAsPythonReadsThem) {
  const std::string lines =
      "{\"sha\": 123456789012345678901234567890, \"text\": \"a\"}\n"
      "{\"id\": 18446744073709551616, \"text\": \"b\"}\n{\"score\": 1e999, \"text\": \"c\"}\n"
      "{\"x\": [NaN, -Infinity], \"text\": \"d\"}\n{\"text\": \"first\", \"text\": \"e\"}\n"
      "{\"text\": 1, \"meta\": {\"text\": 2}, \"text\": \"f\"}\n"
      "{\"other\": \"half of a pair \\ud83d\", \"text\": \"g \\ud83d\\ude00\"}\n";
  EXPECT_THAT(read("a.jsonl", lines), ElementsAre("a", "b", "c", "d", "e", "f", "g \xF0\x9F\x98\x80"));
}

TEST_F(Text, HalfOfASurrogatePairIsNamedAsSuch) {
  for (const char* half : {"\\ud83d", "\\ude00", "\\ud83d\\ud83d", "\\ude00\\ud83d"}) {
    EXPECT_THAT(refusal("a.jsonl", "{\"text\": \"x " + std::string(half) + "\"}\n"),
                HasSubstr("a.jsonl:1: the field \"text\" holds half of a surrogate pair"))
        << half;
  }
}

// U+FDD0 and its neighbours stand for no character, and are none the less what a text may hold.
TEST_F(Text, ANoncharacterBesideHalfOfAPairIsText) {
  for (const std::string text : {"\xEF\xB7\x90", "x \\ufdd0", "\\uFDD1", "\xEF\xB7\x90\xEF\xB7\x91"}) {
    const std::string line = "{\"other\": \"\\ud83d\", \"text\": \"" + text + "\"}\n";
    EXPECT_THAT(read("a.jsonl", line),
                ElementsAre(nlohmann::json::parse("\"" + text + "\"").get<std::string>()))
        << text;
    EXPECT_THAT(refusal("a.jsonl", "{\"text\": \"" + text + "\\ude00\"}\n"),
                HasSubstr("the field \"text\" holds half of a surrogate pair"))
        << text;
  }
}

// Python's json.loads refuses these.
TEST_F(Text, LongIntegersAndAByteOrderMarkBeforeTheFirstLineAreTaken) {
  const std::string mark = "\xEF\xBB\xBF";
  const std::string longest = "{\"n\": " + std::string(5000, '7') + ", \"text\": \"b\"}\n";
  EXPECT_THAT(read("a.jsonl", mark + "{\"text\": \"a\"}\n" + longest), ElementsAre("a", "b"));
  EXPECT_THAT(refusal("a.jsonl", "{\"text\": \"a\"}\n" + mark + "{\"text\": \"b\"}\n"),
              HasSubstr("a.jsonl:2: not JSON"));
}

TEST_F(Text, MistakesBesideSuchNumbersAreFound) {
  for (const char* other : {"12NaN", "1e999x", "01", "18446744073709551616 2", "[1e999,,2]", "tru"}) {
    EXPECT_THAT(refusal("a.jsonl", "{\"n\": " + std::string(other) + ", \"text\": \"x\"}\n"),
                HasSubstr("not JSON"))
        << other;
  }
}

TEST_F(Text, ALineBeyondTheLimitIsRefusedBeforeTheRestOfItIsRead) {
  write_file(folder_ / "a.jsonl",
             "{\"text\": \"before\"}\n" + std::string(64 << 20, 'x') + "\n{\"text\": \"behind\"}\n");
  TextOptions options;
  options.max_document_bytes = 1 << 20;
  TextReader refusing({folder_ / "a.jsonl"}, options);
  std::string text;
  EXPECT_TRUE(refusing.next(text));
  EXPECT_THAT(message_of<core::InputError>([&] { refusing.next(text); }),
              HasSubstr("a.jsonl:2: a line of more than 1.0 MiB"));
  EXPECT_LT(refusing.bytes_read(), uint64_t{8} << 20);
  options.on_bad = OnBad::kSkip;
  TextReader skipping({folder_ / "a.jsonl"}, options);
  EXPECT_THAT(read_all(skipping), ElementsAre("before", "behind"));
  EXPECT_EQ(skipping.left_out().bad, 1);
}

}  // namespace
}  // namespace ssgpt::data
