// Reads prompts with their answers, one at a time, from files of examples: .jsonl and .jsonl.zst with the
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
  std::string prompt;  // never empty, nor is the answer
  std::string answer;
  std::string place;  // for messages: "train.jsonl:12", "train-v2.0.json: question 5a8d7bf7df8bba..."
};

// The answer to a SQuAD 2.0 question that its paragraph does not answer. Like every SQuAD answer it has a
// leading space, which separates it from the prompt.
inline constexpr std::string_view kUnanswerable = " unanswerable";

// The prompt for a SQuAD question: "<context>\n\nQuestion: <question>\nAnswer:".
std::string squad_prompt(std::string_view context, std::string_view question);

// Whether the name has the extension of an example file: .jsonl, .jsonl.zst or .json.
bool is_named_as_examples(const std::filesystem::path& path);

// Whether a file with such a name holds examples: in a file of lines, the first object has a prompt or an
// answer; a .json file is an object with "data". A file that is not JSON counts as one, so that its reader
// reports the error. Throws core::InputError if it cannot be read.
bool looks_like_examples(const std::filesystem::path& path);

class ExampleFile;

class ExampleReader {
 public:
  // Throws core::UsageError for a name that does not end in .jsonl, .jsonl.zst or .json.
  explicit ExampleReader(std::vector<std::filesystem::path> paths);
  ~ExampleReader();

  // Reads the next example, in the order of the files; returns false at the end. A .jsonl file is read line
  // by line, skipping empty lines, and like `ssgpt prepare` accepts what Python's json writes beyond JSON
  // (data/lenient_json.h). A SQuAD file is held in memory as a whole, at several times its size; of several
  // answers to a question the first is used. Throws core::InputError, naming file and line or question, if a
  // file cannot be read, is not JSON of that form, has a prompt or an answer that is missing, not text or
  // blank, or an unanswerable question that has answers.
  bool next(Example& example);

  // Returns the next examples, none at the end: up to max_examples, or fewer once their texts reach
  // max_bytes, which the last one may exceed.
  std::vector<Example> next_part(size_t max_examples, size_t max_bytes);

 private:
  const std::vector<std::filesystem::path> paths_;
  size_t next_path_ = 0;
  std::unique_ptr<ExampleFile> file_;
};

}  // namespace ssgpt::data
