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
  std::string place;  // for messages: "train.jsonl:12", "train-v2.0.json: question 5a8d7bf7df8bba..."
};

// The answer to a question of SQuAD 2.0 that its paragraph does not answer. Like every answer of SQuAD it has
// a blank in front, which parts it from the prompt.
inline constexpr std::string_view kUnanswerable = " unanswerable";

// The prompt that a question of SQuAD becomes: "<context>\n\nQuestion: <question>\nAnswer:".
std::string squad_prompt(std::string_view context, std::string_view question);

// Whether the name ends as that of a file of examples: in .jsonl, .jsonl.zst or .json.
bool is_named_as_examples(const std::filesystem::path& path);

// Whether a file of such a name is one of examples: the first object of one of lines has a prompt or an
// answer, and the other is an object with "data". So is one that is not JSON, for whoever reads it to say
// what is wrong. Throws core::InputError where it does not read.
bool looks_like_examples(const std::filesystem::path& path);

class ExampleFile;

class ExampleReader {
 public:
  // Throws core::UsageError for a name that ends in none of .jsonl, .jsonl.zst and .json.
  explicit ExampleReader(std::vector<std::filesystem::path> paths);
  ~ExampleReader();

  // The next example, in the order of the files; false at the end. A .jsonl file is read line by line, of
  // which empty ones are passed over, and as `ssgpt prepare` reads one, with what Python's json writes beyond
  // JSON (data/lenient_json.h); a SQuAD file is in memory as a whole, with several times its size, and of
  // several answers to a question the first is taken. Throws core::InputError, naming file and line or
  // question, where a file cannot be read, is not JSON of that form, has a prompt or an answer that is
  // missing, no text or blank, or a question without an answer that has some.
  bool next(Example& example);

  // The next examples, none at the end: up to max_examples, fewer where their texts come to max_bytes. The
  // last one may go beyond that.
  std::vector<Example> next_part(size_t max_examples, size_t max_bytes);

 private:
  const std::vector<std::filesystem::path> paths_;
  size_t next_path_ = 0;
  std::unique_ptr<ExampleFile> file_;
};

}  // namespace ssgpt::data
