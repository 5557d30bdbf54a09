#include "data/example_reader.h"

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "data/line_reader.h"

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

constexpr uint64_t kMaxExampleBytes = uint64_t{16} << 20;  // as of a document: see TextOptions
constexpr uint64_t kMaxSquadBytes = uint64_t{1} << 30;     // 20 times SQuAD 2.0

bool is_blank_text(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// The text under `key`. Throws where there is none; `place` says where.
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
      const ExampleJson object = core::parse_json<ExampleJson>(line, &fault);
      if (object.is_discarded()) throw core::InputError("{}: {}.", example.place, fault);
      if (!object.is_object()) {
        throw core::InputError("{}: not a JSON object with the fields \"prompt\" and \"answer\".",
                               example.place);
      }
      example.prompt = text_at(object, "prompt", example.place);
      example.answer = text_at(object, "answer", example.place);
      require_text(example.prompt, "prompt", example.place);
      require_text(example.answer, "answer", example.place);
      return true;
    }
    return false;
  }

 private:
  const fs::path path_;
  LineReader lines_;
};

// {"data": [{"paragraphs": [{"context", "qas": [{"question", "id", "is_impossible", "answers":
// [{"text"}]}]}]}]}
class SquadExamples : public ExampleFile {
 public:
  explicit SquadExamples(const fs::path& path)
      : path_(path), json_(core::read_json<ExampleJson>(path, kMaxSquadBytes)) {
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
        example.place = fmt::format("{}.qas[{}]", in_paragraph, question_);
        take(paragraphs[paragraph_], questions[question_++], example);
        return true;
      }
    }
    return false;
  }

 private:
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
      example.answer = kUnanswerable;
      return;
    }
    const ExampleJson& answers = list_at(question, "answers", example.place);
    if (answers.empty()) {
      throw core::InputError(
          "{}: the question has no answer, and \"is_impossible\" does not say that it has "
          "none.",
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
  size_t question_ = 0;  // the next
};

bool is_jsonl(const fs::path& path) {
  return (path.extension() == ".zst" ? path.stem() : path).extension() == ".jsonl";
}

std::unique_ptr<ExampleFile> open_examples(const fs::path& path) {
  if (is_jsonl(path)) return std::make_unique<JsonlExamples>(path);
  return std::make_unique<SquadExamples>(path);
}

}  // namespace

std::string squad_prompt(std::string_view context, std::string_view question) {
  return fmt::format("{}\n\nQuestion: {}\nAnswer:", context, question);
}

ExampleReader::ExampleReader(std::vector<fs::path> paths) : paths_(std::move(paths)) {
  for (const fs::path& path : paths_) {
    if (is_jsonl(path) || path.extension() == ".json") continue;
    throw core::UsageError(
        "{}: with data.format = sft examples are read from files whose names end in .jsonl, .jsonl.zst or, "
        "in "
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

}  // namespace ssgpt::data
