#include "data/example_reader.h"

#include "core/error.h"
#include "data/fixtures.h"

#include <string>
#include <utility>
#include <vector>

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
  EXPECT_THAT(places_.front(), HasSubstr("data[1].paragraphs[1].qas[0]"));
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
  };
  for (const auto& [text, fault] : faults) {
    EXPECT_THAT(refusal("squad.json", text), AllOf(HasSubstr(fault), HasSubstr("squad.json"))) << text;
  }
}

TEST_F(ExamplesOnDisk, OtherFilesAreRefusedByTheirNames) {
  EXPECT_THAT(message_of<core::UsageError>([] { ExampleReader({"train.bin"}); }), HasSubstr(".jsonl.zst"));
  EXPECT_NE(message_of<core::Error>([&] {
              ExampleReader reader({folder_ / "missing.jsonl"});
              Example example;
              reader.next(example);
            }),
            "nothing was thrown");
}

}  // namespace
}  // namespace ssgpt::data
