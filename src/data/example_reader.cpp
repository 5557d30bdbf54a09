#include "data/example_reader.h"

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "data/lenient_json.h"
#include "data/line_reader.h"

#include <optional>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {

class ExampleFile {
 public:
  virtual ~ExampleFile() = default;
  virtual bool next(Example& example) = 0;
};

namespace {

namespace fs = std::filesystem;
using ExampleJson = nlohmann::json;

constexpr uint64_t kMaxExampleBytes = uint64_t{16} << 20;  // the limit of a document: see TextOptions
constexpr uint64_t kMaxSquadBytes = uint64_t{1} << 30;     // 20 times SQuAD 2.0

bool is_blank_text(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// Returns the text under `key`. Throws if there is none; `place` says where, for the message.
const std::string& text_at(const ExampleJson& object, const char* key, const std::string& place) {
  const auto found = object.find(key);
  if (found == object.end()) throw core::InputError("{}: the example has no field \"{}\".", place, key);
  if (!found->is_string()) {
    throw core::InputError("{}: the field \"{}\" is {}, not a text.", place, key, core::json_excerpt(*found));
  }
  return found->get_ref<const std::string&>();
}

void require_text(std::string_view text, const char* what, const std::string& place) {
  if (!is_blank_text(text)) return;
  throw core::InputError("{}: the {} is empty: there is nothing to {}.", place, what,
                         what == std::string_view("answer") ? "learn" : "answer");
}

// The contents of one line of a .jsonl file.
struct JsonLine {
  ExampleJson value;
  // Parsed with the second mark in place of unpaired surrogates; nullopt if there are none.
  std::optional<ExampleJson> with_other_mark;
};

// Parses as `ssgpt prepare` does (data/jsonl.cpp): strictly first, which is faster. If the line is not JSON,
// the value is discarded and `fault` says why.
JsonLine parse_line(std::string_view line, std::string& fault) {
  JsonLine parsed{.value = core::parse_json<ExampleJson>(line, &fault), .with_other_mark = std::nullopt};
  if (!parsed.value.is_discarded()) return parsed;
  const std::optional<StrictJson> strict = as_strict_json(line, kHalfPairMarks[0]);
  if (!strict) return parsed;
  parsed.value = core::parse_json<ExampleJson>(strict->text, &fault);
  if (parsed.value.is_discarded() || !strict->has_half_pair) return parsed;
  parsed.with_other_mark = core::parse_json<ExampleJson>(as_strict_json(line, kHalfPairMarks[1])->text);
  return parsed;
}

// Returns a text field of the line. Throws if it has none, or one with an unpaired surrogate, which is not a
// character.
const std::string& text_of_line(const JsonLine& line, const char* key, const std::string& place) {
  const std::string& text = text_at(line.value, key, place);
  require_text(text, key, place);
  if (line.with_other_mark && text_at(*line.with_other_mark, key, place) != text) {
    throw core::InputError("{}: the field \"{}\" holds half of a surrogate pair, which is no character.",
                           place, key);
  }
  return text;
}

class JsonlExamples : public ExampleFile {
 public:
  explicit JsonlExamples(const fs::path& path) : path_(path), lines_(path) {}

  bool next(Example& example) override {
    std::string_view line;
    while (lines_.next(line, kMaxExampleBytes + 1)) {
      example.place = fmt::format("{}:{}", path_.string(), lines_.line_number());
      if (lines_.is_cut()) {
        throw core::InputError("{}: a line of more than {}, the largest example allowed.", example.place,
                               core::human_bytes(kMaxExampleBytes));
      }
      if (is_blank_text(line)) continue;
      std::string fault;
      const JsonLine parsed = parse_line(line, fault);
      if (parsed.value.is_discarded()) throw core::InputError("{}: {}.", example.place, fault);
      if (!parsed.value.is_object()) {
        throw core::InputError("{}: not a JSON object with the fields \"prompt\" and \"answer\".",
                               example.place);
      }
      example.prompt = text_of_line(parsed, "prompt", example.place);
      example.answer = text_of_line(parsed, "answer", example.place);
      return true;
    }
    return false;
  }

 private:
  const fs::path path_;
  LineReader lines_;
};

// Returns the object in the first non-empty line; nullopt if that line is not an object by itself, as in JSON
// spread over several lines.
std::optional<ExampleJson> object_of_first_line(const fs::path& path) {
  LineReader lines(path);
  std::string_view line;
  while (lines.next(line, kMaxExampleBytes)) {
    if (is_blank_text(line)) continue;
    std::string fault;
    JsonLine parsed = parse_line(line, fault);
    if (!parsed.value.is_object()) break;
    return std::move(parsed.value);
  }
  return std::nullopt;
}

ExampleJson read_squad(const fs::path& path) {
  try {
    return core::read_json<ExampleJson>(path, kMaxSquadBytes);
  } catch (const core::InputError&) {
    if (!object_of_first_line(path)) throw;
  }
  throw core::InputError(
      "{}: lines of JSON, an object each, where a file of this name holds one JSON text in SQuAD's form. "
      "Lines with the fields \"prompt\" and \"answer\" need a name that ends in .jsonl.",
      path.string());
}

// {"data": [{"paragraphs": [{"context", "qas": [{"question", "id", "is_impossible", "answers":
// [{"text"}]}]}]}]}. An impossible question has no answers; it has others under "plausible_answers".
class SquadExamples : public ExampleFile {
 public:
  explicit SquadExamples(const fs::path& path) : path_(path), json_(read_squad(path)) {
    if (!json_.is_object())
      throw core::InputError("{}: not a JSON object, as SQuAD's files are.", path.string());
  }

  bool next(Example& example) override {
    const ExampleJson& articles = list_at(json_, "data", path_.string());
    for (; article_ < articles.size(); ++article_, paragraph_ = 0) {
      const std::string in_article = fmt::format("{}: data[{}]", path_.string(), article_);
      const ExampleJson& paragraphs = list_at(articles[article_], "paragraphs", in_article);
      for (; paragraph_ < paragraphs.size(); ++paragraph_, question_ = 0) {
        const std::string in_paragraph = fmt::format("{}.paragraphs[{}]", in_article, paragraph_);
        const ExampleJson& questions = list_at(paragraphs[paragraph_], "qas", in_paragraph);
        if (question_ == questions.size()) continue;
        const ExampleJson& question = questions[question_];
        example.place = place_of(question, fmt::format("{}.qas[{}]", in_paragraph, question_));
        ++question_;
        take(paragraphs[paragraph_], question, example);
        return true;
      }
    }
    return false;
  }

 private:
  // Names a question by its id, which can be searched for; `by_index` if it has none.
  std::string place_of(const ExampleJson& question, const std::string& by_index) const {
    if (question.is_object()) {
      if (const auto id = question.find("id"); id != question.end() && id->is_string())
        return fmt::format("{}: question {}", path_.string(), core::excerpt(id->get<std::string>()));
    }
    return by_index;
  }

  static const ExampleJson& list_at(const ExampleJson& object, const char* key, const std::string& place) {
    if (object.is_object()) {
      if (const auto found = object.find(key); found != object.end() && found->is_array()) return *found;
    }
    throw core::InputError(
        "{}: there is no list \"{}\", as SQuAD's files have. Examples of another form go into a .jsonl file "
        "with the fields \"prompt\" and \"answer\".",
        place, key);
  }

  static void take(const ExampleJson& paragraph, const ExampleJson& question, Example& example) {
    const std::string& context = text_at(paragraph, "context", example.place);
    if (!question.is_object()) throw core::InputError("{}: not a JSON object.", example.place);
    const std::string& asked = text_at(question, "question", example.place);
    require_text(asked, "question", example.place);
    example.prompt = squad_prompt(context, asked);
    if (is_impossible(question, example.place)) {
      if (question.contains("answers") && !list_at(question, "answers", example.place).empty()) {
        throw core::InputError(
            "{}: \"is_impossible\" says that the question has no answer, and \"answers\" holds {}. Remove "
            "one of the two; SQuAD keeps answers that only seem right under \"plausible_answers\".",
            example.place, core::json_excerpt(question["answers"]));
      }
      example.answer = kUnanswerable;
      return;
    }
    const ExampleJson& answers = list_at(question, "answers", example.place);
    if (answers.empty()) {
      throw core::InputError(
          "{}: the question has no answer, and \"is_impossible\" does not say that it has none.",
          example.place);
    }
    if (!answers[0].is_object())
      throw core::InputError("{}: the answer is not a JSON object.", example.place);
    const std::string& answer = text_at(answers[0], "text", example.place);
    require_text(answer, "answer", example.place);
    example.answer = " " + answer;
  }

  // SQuAD 1.1 has no such field: all of its questions have answers.
  static bool is_impossible(const ExampleJson& question, const std::string& place) {
    const auto found = question.find("is_impossible");
    if (found == question.end()) return false;
    if (found->is_boolean()) return found->get<bool>();
    throw core::InputError("{}: the field \"is_impossible\" is {}, neither true nor false.", place,
                           core::json_excerpt(*found));
  }

  const fs::path path_;
  const ExampleJson json_;
  size_t article_ = 0;
  size_t paragraph_ = 0;
  size_t question_ = 0;  // the next question
};

bool is_jsonl(const fs::path& path) {
  return (path.extension() == ".zst" ? path.stem() : path).extension() == ".jsonl";
}

std::unique_ptr<ExampleFile> open_examples(const fs::path& path) {
  if (is_jsonl(path)) return std::make_unique<JsonlExamples>(path);
  return std::make_unique<SquadExamples>(path);
}

}  // namespace

bool is_named_as_examples(const fs::path& path) {
  return is_jsonl(path) || path.extension() == ".json";
}

bool looks_like_examples(const fs::path& path) {
  if (is_jsonl(path)) {
    const std::optional<ExampleJson> first = object_of_first_line(path);
    return !first || first->contains("prompt") || first->contains("answer");
  }
  try {
    return core::read_json<ExampleJson>(path, kMaxSquadBytes).contains("data");
  } catch (const core::InputError&) {
    return true;
  }
}

std::string squad_prompt(std::string_view context, std::string_view question) {
  return fmt::format("{}\n\nQuestion: {}\nAnswer:", context, question);
}

ExampleReader::ExampleReader(std::vector<fs::path> paths) : paths_(std::move(paths)) {
  for (const fs::path& path : paths_) {
    if (is_named_as_examples(path)) continue;
    throw core::UsageError(
        "{}: examples (data.format = sft) are read from files whose names end in .jsonl, .jsonl.zst or, in "
        "the form of SQuAD, .json.",
        path.string());
  }
}

ExampleReader::~ExampleReader() = default;

bool ExampleReader::next(Example& example) {
  while (file_ || next_path_ < paths_.size()) {
    if (!file_) file_ = open_examples(paths_[next_path_++]);
    if (file_->next(example)) return true;
    file_.reset();
  }
  return false;
}

std::vector<Example> ExampleReader::next_part(size_t max_examples, size_t max_bytes) {
  std::vector<Example> examples;
  size_t bytes = 0;
  Example example;
  while (examples.size() < max_examples && bytes < max_bytes && next(example)) {
    bytes += example.prompt.size() + example.answer.size();
    examples.push_back(std::move(example));
  }
  return examples;
}

}  // namespace ssgpt::data
