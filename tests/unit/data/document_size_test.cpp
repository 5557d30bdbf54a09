// Documents too large for memory, with a limit of 1000 bytes in place of 16 MiB.

#include "core/error.h"
#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/text_reader.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kLimit = 1000;

class DocumentSize : public ::testing::Test {
 protected:
  std::vector<std::string> read(const std::string& bytes, const TextOptions& options,
                                const std::string& name = "a.txt") {
    testing::write_file(folder_ / name, bytes);
    TextReader reader({folder_ / name}, options);
    std::vector<std::string> documents;
    std::string text;
    while (reader.next(text)) {
      documents.push_back(text);
    }
    return documents;
  }

  const TemporaryDirectory folder_;
};

std::string lines_of(size_t bytes) {
  std::string text;
  while (text.size() < bytes) {
    text += "nine byt\n";
  }
  text.resize(bytes - 1);
  return text + "\n";
}

TEST_F(DocumentSize, TextWithoutItsSeparatorIsRefusedAndTheSeparatorNamed) {
  TextOptions options{.document_separator = "<|end|>", .max_document_bytes = kLimit};
  const std::string fits = lines_of(kLimit);
  EXPECT_THAT(read(fits + "<|end|>\n" + fits, options), ElementsAre(fits, fits));
  for (const std::string& large : {lines_of(kLimit + 1), std::string(5000, 'x'),
                                   std::string(600, 'x') + std::string(600, ' ') + "<|end|>\n"}) {
    EXPECT_THAT(message_of<core::InputError>([&] { read("a\n<|end|>\n" + large, options); }),
                AllOf(HasSubstr("byte 10"), HasSubstr("\"<|end|>\""), HasSubstr("--document-separator")));
  }
}

// The text behind a cut is no line, though it reads like the separator.
TEST_F(DocumentSize, SeparatorAtTheEndOfALongLineEndsNoDocument) {
  TextOptions options{.document_separator = " end", .max_document_bytes = kLimit};
  std::string text(998, 'x');
  text += " end\n";
  EXPECT_THAT(message_of<core::InputError>([&] { read(text, options); }), HasSubstr("\" end\""));
}

TEST_F(DocumentSize, FileThatIsOneDocumentIsRefusedAndTheOptionsNamed) {
  TextOptions options{.document_separator = {}, .split_documents_at = 0, .max_document_bytes = kLimit};
  const std::string fits = lines_of(kLimit);
  EXPECT_THAT(read(fits, options), ElementsAre(fits));
  for (const std::string& large : {lines_of(kLimit + 1), std::string(kLimit + 1, 'x')}) {
    EXPECT_THAT(message_of<core::InputError>([&] { read(large, options); }),
                HasSubstr("--split-documents-at"));
  }
  options.split_documents_at = 100;
  EXPECT_GT(read(lines_of(10 * kLimit), options).size(), 40u);
}

std::string json_line(size_t bytes) {
  const std::string frame = R"({"text": ""})";
  return R"({"text": ")" + std::string(bytes - frame.size(), 'x') + "\"}";
}

TEST_F(DocumentSize, LineOfJsonThatIsTooLongIsABadDocumentAndTheNextOneIsRead) {
  TextOptions options{.document_separator = {}, .split_documents_at = 0, .max_document_bytes = kLimit};
  const std::string large = json_line(kLimit) + "\n" + json_line(kLimit + 1) + "\n" +
                            json_line(100 * kLimit) + "\n" + json_line(50) + "\n" + json_line(kLimit);
  EXPECT_THAT(message_of<core::InputError>([&] { read(large, options, "a.jsonl"); }),
              AllOf(HasSubstr("a.jsonl:2:"), HasSubstr("cut it"), HasSubstr("--on-bad skip")));
  options.on_bad = OnBad::kSkip;
  const std::string longest(kLimit - 12, 'x');
  EXPECT_THAT(read(large, options, "a.jsonl"), ElementsAre(longest, std::string(38, 'x'), longest));
  EXPECT_THAT(read(json_line(100 * kLimit), options, "a.jsonl"), ElementsAre());
  EXPECT_THAT(read(json_line(kLimit + 1), options, "a.jsonl"), ElementsAre()) << "without a line break";
}

TEST_F(DocumentSize, PartsLargerThanHalfADocumentAreRefused) {
  TextOptions options{
      .document_separator = {}, .split_documents_at = kLimit / 2 + 1, .max_document_bytes = kLimit};
  EXPECT_THAT(message_of<core::UsageError>([&] { read("text", options); }),
              AllOf(HasSubstr("--split-documents-at 501"), HasSubstr("500")));
}

// A frame with the window of `zstd --long=31`: its descriptor says 2^31 bytes, then comes an empty last
// block.
TEST_F(DocumentSize, ZstdFileThatTakesTooMuchMemoryIsRefusedAndTheOptionNamed) {
  const std::string frame("\x28\xB5\x2F\xFD\x00\xA8\x01\x00\x00", 9);
  EXPECT_THAT(message_of<core::InputError>([&] { read(frame, {}, "a.txt.zst"); }),
              AllOf(HasSubstr("a.txt.zst"), HasSubstr("128.0 MiB"), HasSubstr("--long=27")));
}

}  // namespace
}  // namespace ssgpt::data
