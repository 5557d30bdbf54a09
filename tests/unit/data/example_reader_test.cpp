#include "data/example_reader.h"

#include "core/error.h"
#include "data/fixtures.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Texts = std::pair<std::string, std::string>;

class ExamplesOnDisk : public ::testing::Test {
 protected:
  std::vector<Texts> read(const std::string& name, const std::string& bytes) {
    testing::write_file(folder_ / name, bytes);
    ExampleReader reader({folder_ / name});
    std::vector<Texts> texts;
    Example example;
    while (reader.next(example)) {
      texts.emplace_back(example.prompt, example.answer);
      places_.push_back(example.place.substr(example.place.find_last_of('/') + 1));
    }
    return texts;
  }

  std::string refusal(const std::string& name, const std::string& bytes) {
    return message_of<core::InputError>([&] { read(name, bytes); });
  }

  const TemporaryDirectory folder_;
  std::vector<std::string> places_;
};

TEST_F(ExamplesOnDisk, LinesOfJsonAreTakenAsTheyStand) {
  const std::string lines =
      "{\"prompt\": \" A?\\n\", \"answer\": \" b \", \"id\": 7}\n\n{\"answer\":\"\\u00e9\",\"prompt\":\"C\"}";
  EXPECT_THAT(read("a.jsonl", lines), ElementsAre(Texts(" A?\n", " b "), Texts("C", "\u00e9")));
  EXPECT_THAT(places_, ElementsAre("a.jsonl:1", "a.jsonl:3"));
  EXPECT_EQ(read("a.jsonl.zst", testing::zstd_frame(lines)).size(), 2U);
}

// A paragraph with two answers to one question, none to the other; and a file in which an article and a
// paragraph are empty.
TEST_F(ExamplesOnDisk, SquadsQuestionsBecomePrompts) {
  const std::string squad = R"({"version": "v2.0", "data": [{"title": "x", "paragraphs": []}, {"title": "y",
    "paragraphs": [{"context": "none", "qas": []}, {"context": "Oslo is in Norway.", "qas": [
      {"question": "Where is Oslo?", "id": "1", "answers": [{"text": "Norway", "answer_start": 11},
       {"text": "in Norway", "answer_start": 8}], "is_impossible": false},
      {"question": "Who built it?", "id": "2", "answers": [], "is_impossible": true,
       "plausible_answers": [{"text": "Norway", "answer_start": 11}]},
      {"question": "What?", "id": "3", "answers": [{"text": "Oslo", "answer_start": 0}]}]}]}]})";
  const std::string context = "Oslo is in Norway.\n\nQuestion: ";
  EXPECT_THAT(read("dev.json", squad), ElementsAre(Texts(context + "Where is Oslo?\nAnswer:", " Norway"),
                                                   Texts(context + "Who built it?\nAnswer:", " unanswerable"),
                                                   Texts(context + "What?\nAnswer:", " Oslo")));
  EXPECT_THAT(places_, ElementsAre("dev.json: question 1", "dev.json: question 2", "dev.json: question 3"));
}

// Without an id, by its number.
TEST_F(ExamplesOnDisk, AQuestionOfSquadIsNamedByItsId) {
  const std::string squad = R"({"data": [{"paragraphs": [{"context": "c", "qas": [
      {"question": "q?", "id": "5a8d7bf7", "answers": [{"text": ""}]}]}]}]})";
  EXPECT_THAT(refusal("s.json", squad), HasSubstr("s.json: question 5a8d7bf7: the answer is empty"));
  const std::string unnamed = R"({"data": [{"paragraphs": [{"context": "c", "qas": [
      {"question": "q?", "answers": [{"text": ""}]}]}]}]})";
  EXPECT_THAT(refusal("s.json", unnamed),
              HasSubstr("s.json: data[0].paragraphs[0].qas[0]: the answer is empty"));
}

// As Python's json writes a record with a NaN or an unpaired surrogate, in fields that no example uses.
TEST_F(ExamplesOnDisk, LinesAreReadThatPrepareReads) {
  const std::string texts = R"("prompt": "a\ud83d\ude00", "answer": "b")";
  for (const char* other :
       {R"("score": NaN)", R"("score": [-Infinity, 1e999, 123456789012345678901234567890])",
        R"("note": "\ud83d")", R"("note": NaN, "\udc00": 1)"}) {
    for (const std::string& line :
         {fmt::format("{{{}, {}}}", texts, other), fmt::format("{{{}, {}}}", other, texts)}) {
      EXPECT_THAT(read("n.jsonl", line), ElementsAre(Texts("a\xF0\x9F\x98\x80", "b"))) << line;
    }
  }
  // Half of a pair is no character of a text. What stands in its place may stand in the text for itself.
  EXPECT_THAT(refusal("n.jsonl", R"({"prompt": "a\ud83d", "answer": "b"})"),
              AllOf(HasSubstr("n.jsonl:1: the field \"prompt\" holds half of a surrogate pair")));
  EXPECT_THAT(refusal("n.jsonl", R"({"prompt": "a", "answer": "b\udc00", "score": NaN})"),
              HasSubstr("the field \"answer\" holds half of a surrogate pair"));
  EXPECT_THAT(read("n.jsonl", R"({"prompt": "a\ufdd0", "answer": "b", "note": "\ud83d"})"),
              ElementsAre(Texts("a\uFDD0", "b")));
  // Other errors remain errors.
  EXPECT_THAT(refusal("n.jsonl", R"({"prompt": "a", "answer": "b", "score": NaN,})"), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("n.jsonl", R"({"prompt": "a", "answer": NaN})"),
              HasSubstr("the field \"answer\" is 0"));
}

TEST_F(ExamplesOnDisk, APartEndsWithItsNumberOfExamplesOrItsBytes) {
  std::string lines;
  for (const int bytes : {10, 10, 10, 10, 100, 10}) {
    lines += fmt::format("{{\"prompt\": \"{}\", \"answer\": \"{}\"}}\n", std::string(bytes / 2, 'a'),
                         std::string(bytes / 2, 'b'));
  }
  testing::write_file(folder_ / "p.jsonl", lines);
  const auto parts = [&](size_t max_examples, size_t max_bytes) {
    ExampleReader reader({folder_ / "p.jsonl"});
    std::vector<size_t> sizes;
    do {
      sizes.push_back(reader.next_part(max_examples, max_bytes).size());
    } while (sizes.back() > 0);
    return sizes;
  };
  EXPECT_THAT(parts(100, 1000), ElementsAre(6, 0));
  EXPECT_THAT(parts(4, 1000), ElementsAre(4, 2, 0));
  EXPECT_THAT(parts(100, 20), ElementsAre(2, 2, 1, 1, 0));
  EXPECT_THAT(parts(100, 25), ElementsAre(3, 2, 1, 0));
  EXPECT_THAT(parts(100, 1), ElementsAre(1, 1, 1, 1, 1, 1, 0));
}

TEST_F(ExamplesOnDisk, WhatIsNoExampleIsRefusedByItsPlace) {
  const std::vector<std::pair<std::string, std::string>> faults = {
      {R"({"prompt": "a", "answer": ""})", "the answer is empty"},
      {R"({"prompt": "a", "answer": " \n"})", "the answer is empty"},
      {R"({"prompt": "", "answer": "b"})", "the prompt is empty"},
      {R"({"prompt": "a"})", "no field \"answer\""},
      {R"({"answer": "a"})", "no field \"prompt\""},
      {R"({"prompt": "a", "answer": 7})", "the field \"answer\" is 7, not a text"},
      {R"({"prompt": ["a"], "answer": "b"})", "the field \"prompt\" is [\"a\"], not a text"},
      {R"(["a", "b"])", "not a JSON object"},
      {R"({"prompt": "a", "answer": "b")", "not JSON"},
      {"{\"prompt\": \"a\", \"answer\": \"\xff\"}", "not JSON"},
  };
  const std::string good = R"({"prompt": "a", "answer": "b"})";
  for (const auto& [line, fault] : faults) {
    const std::string message = refusal("bad.jsonl", good + "\n" + line + "\n");
    EXPECT_THAT(message, HasSubstr(fault));
    EXPECT_THAT(message, HasSubstr("bad.jsonl:2"));
  }
}

TEST_F(ExamplesOnDisk, WhatIsNotSquadIsRefused) {
  const auto question = [](const std::string& fields) {
    return R"({"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q?")" + fields + "}]}]}]}";
  };
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"[]", "not a JSON object"},
      {"{}", "no list \"data\""},
      {R"({"data": [1]})", "no list \"paragraphs\""},
      {R"({"data": [{"paragraphs": [{"context": "c"}]}]})", "no list \"qas\""},
      {R"({"data": [{"paragraphs": [{"qas": [{"question": "q"}]}]}]})", "no field \"context\""},
      {R"({"data": [{"paragraphs": [{"context": "c", "qas": [7]}]}]})", "not a JSON object"},
      {question(""), "no list \"answers\""},
      {question(R"(, "answers": [])"), "the question has no answer"},
      {question(R"(, "answers": ["x"])"), "the answer is not a JSON object"},
      {question(R"(, "answers": [{"text": ""}])"), "the answer is empty"},
      {question(R"(, "answers": [], "is_impossible": "yes")"), "neither true nor false"},
      {question(R"(, "answers": [{"text": "b"}], "is_impossible": true)"),
       R"("answers" holds [{"text":"b"}])"},
      {question(R"(, "answers": {"text": []}, "is_impossible": true)"), "no list \"answers\""},
      {"{\"prompt\": \"a\", \"answer\": \"b\"}\n{\"prompt\": \"c\", \"answer\": \"d\"}\n",
       "need a name that ends in .jsonl"},
      {"\n{\"a\": NaN}\n{\"a\": 1}", "need a name that ends in .jsonl"},
      {"{\n  \"data\": [],\n}", "not JSON (line 3, column 1)"},
      {"{\"data\": [", "not JSON"},
  };
  for (const auto& [text, fault] : faults) {
    EXPECT_THAT(refusal("squad.json", text), AllOf(HasSubstr(fault), HasSubstr("squad.json"))) << text;
  }
}

TEST_F(ExamplesOnDisk, OtherFilesAreRefusedByTheirNames) {
  EXPECT_THAT(message_of<core::UsageError>([] { ExampleReader({"train.bin"}); }), HasSubstr(".jsonl.zst"));
  EXPECT_THAT(message_of<core::InputError>([&] {
                ExampleReader reader({folder_ / "missing.jsonl"});
                Example example;
                reader.next(example);
              }),
              HasSubstr("missing.jsonl"));
}

TEST_F(ExamplesOnDisk, AreToldFromOtherFilesOfTheirNames) {
  const auto looks = [&](const std::string& name, const std::string& bytes) {
    testing::write_file(folder_ / name, bytes);
    return looks_like_examples(folder_ / name);
  };
  EXPECT_TRUE(looks("a.jsonl", "\n{\"prompt\": \"a\", \"answer\": \"b\"}\n"));
  EXPECT_TRUE(looks("a.jsonl", "{\"answer\": \"b\"}\n"));  // with a fault
  EXPECT_TRUE(looks("a.jsonl", "{\"prompt\": \"a\n"));
  EXPECT_TRUE(looks("a.jsonl.zst", testing::zstd_frame("{\"prompt\": \"a\"}\n")));
  EXPECT_TRUE(looks("a.json", "{\"version\": \"v2.0\", \"data\": []}"));
  EXPECT_TRUE(looks("a.json", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n"));
  EXPECT_FALSE(looks("metrics.jsonl", "{\"step\": 1, \"train/loss\": 2.5}\n"));
  EXPECT_FALSE(looks("run.json", "{\"run_id\": \"x\",\n \"command\": \"ssgpt train\"}"));
  EXPECT_FALSE(looks("run.json", "[1, 2]"));
}

}  // namespace
}  // namespace ssgpt::data
