// Prompts with their answers, one after the other, from files of examples: .jsonl and .jsonl.zst with the
// fields `prompt` and `answer`, and SQuAD 2.0's .json. Not responsible for tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::data {

struct Example {
  std::string prompt;  // neither is empty
  std::string answer;
  std::string place;  // for messages: "train.jsonl:12", "train-v2.0.json: question 5a8d..."
};

// The answer to a question of SQuAD 2.0 that its paragraph does not answer. Like every answer of SQuAD it has
// a blank in front, which parts it from the prompt.
inline constexpr std::string_view kUnanswerable = " unanswerable";

// The prompt that a question of SQuAD becomes: "<context>\n\nQuestion: <question>\nAnswer:".
std::string squad_prompt(std::string_view context, std::string_view question);

class ExampleFile;

class ExampleReader {
 public:
  // Throws core::UsageError for a name that ends in none of .jsonl, .jsonl.zst and .json.
  explicit ExampleReader(std::vector<std::filesystem::path> paths);
  ~ExampleReader();

  // The next example, in the order of the files; false at the end. A .jsonl file is read line by line, of
  // which empty ones are passed over; a SQuAD file is in memory as a whole, with several times its size, and
  // of several answers to a question the first is taken. Throws core::InputError, naming file and line or
  // question, where a file cannot be read, is not JSON of that form, or has a prompt or an answer that is
  // missing, no text or blank.
  bool next(Example& example);

 private:
  const std::vector<std::filesystem::path> paths_;
  size_t next_path_ = 0;
  std::unique_ptr<ExampleFile> file_;
};

}  // namespace ssgpt::data
