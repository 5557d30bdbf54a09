#include "run/metrics_line.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/system_message.h"
#include "core/text.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <functional>
#include <limits>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace ssgpt::run {
namespace {

using Json = nlohmann::ordered_json;
using Fields = nlohmann::json;  // for lines that are read, whose fields are looked up by name

constexpr size_t kMaxLineBytes = size_t{1} << 20;  // thousands of times the size of any line
constexpr const char* kTrainLoss = "train/loss";
constexpr const char* kValidationLoss = "validation/loss";
constexpr const char* kValidationData = "validation/data";

std::string to_text(const MetricsLine& line) {
  Json object;
  object["step"] = line.step;
  object["tokens"] = line.tokens;
  if (line.steps) object["steps"] = {line.steps->first, line.steps->last};
  // The library writes the shortest digits that read back to the same double, and null for non-finite values.
  for (const auto& [name, value] : line.values) object[name] = value;
  if (!line.validation_data.empty()) object[kValidationData] = line.validation_data;
  object["time"] = line.time;
  return core::json_text(object) + "\n";
}

std::string to_text(const SampleLine& line) {
  const Json object = {{"step", line.step}, {"prompt", line.prompt}, {"text", line.text}};
  return core::json_text(object) + "\n";
}

// Position of a line, for messages.
struct Position {
  const std::filesystem::path& path;
  int64_t line;
};

bool is_whole_number(const Fields& value, int64_t least) {
  // An unsigned value above the largest int64_t reads as a negative one.
  return value.is_number_integer() && value.get<int64_t>() >= least;
}

int64_t integer(const Fields& object, const char* name, const Position& at, int64_t least) {
  const auto found = object.find(name);
  if (found != object.end() && is_whole_number(*found, least)) return found->get<int64_t>();
  throw core::InputError(
      "{}:{}: `{}` is {}, not a whole number of {} or more. The line is not a training record; the file was "
      "damaged or is not a run's metrics.",
      at.path.string(), at.line, name, found == object.end() ? "missing" : core::json_excerpt(*found), least);
}

double number(const Fields& value, const std::string& name, const Position& at) {
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!value.is_number()) {
    throw core::InputError(
        "{}:{}: `{}` is {}, neither a number nor null. The file was damaged or is not a run's metrics.",
        at.path.string(), at.line, name, core::json_excerpt(value));
  }
  const double read = value.get<double>();
  return std::isfinite(read) ? read : std::numeric_limits<double>::quiet_NaN();
}

StepRange step_range(const Fields& value, int64_t step, const Position& at) {
  const bool two = value.is_array() && value.size() == 2;
  if (two && is_whole_number(value[0], 1) && is_whole_number(value[1], value[0].get<int64_t>()) &&
      value[1].get<int64_t>() == step) {
    return {.first = value[0].get<int64_t>(), .last = step};
  }
  throw core::InputError(
      "{}:{}: `steps` is {}, not the first and the last of the steps up to step {}. The file was damaged.",
      at.path.string(), at.line, core::json_excerpt(value), step);
}

std::string text(const Fields& value, const char* name, const Position& at) {
  if (value.is_string()) return value.get<std::string>();
  throw core::InputError("{}:{}: `{}` is {}, not a text. The file was damaged.", at.path.string(), at.line,
                         name, core::json_excerpt(value));
}

MetricsLine to_line(const Fields& object, const Position& at) {
  MetricsLine line;
  line.step = integer(object, "step", at, /*least=*/1);
  line.tokens = integer(object, "tokens", at, /*least=*/0);
  for (const auto& [name, value] : object.items()) {
    if (name == "step" || name == "tokens") continue;
    if (name == "steps") {
      line.steps = step_range(value, line.step, at);
    } else if (name == kValidationData) {
      line.validation_data = text(value, kValidationData, at);
    } else if (name == "time") {
      line.time = number(value, name, at);
    } else if (value.is_number() || value.is_null() || name == kTrainLoss || name == kValidationLoss) {
      line.values.emplace_back(name, number(value, name, at));
    }  // ignores anything else, which this program did not write
  }
  return line;
}

// Calls `take` with each terminated line and its number, from 1. Returns the text after the last one.
std::string_view for_each_line(std::string_view text,
                               const std::function<void(std::string_view, int64_t)>& take) {
  int64_t number = 0;
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', begin)) {
    take(text.substr(begin, end - begin), ++number);
    begin = end + 1;
  }
  return text.substr(begin);
}

// Parses the JSON object in a line. On failure the result is discarded or of another type, and `fault` says
// why.
Fields parse_line(std::string_view line, std::string& fault) {
  if (line.size() > kMaxLineBytes) {
    fault = fmt::format("a line of {}", core::human_bytes(line.size()));
    return Fields(Fields::value_t::discarded);
  }
  Fields fields = core::parse_json<Fields>(line, &fault);
  if (!fields.is_object() && fault.empty()) fault = "not a JSON object";
  return fields;
}

// Checks that the steps of each curve rise, and fills in the step range of lines that lack it.
class Curves {
 public:
  explicit Curves(std::optional<int64_t> first_step) : trained_(first_step) {}

  void check(MetricsLine& line, const Position& at) {
    if (line.value(kTrainLoss)) {
      if (!line.steps && !trained_) throw_unknown_begin(at);
      if (!line.steps) line.steps = StepRange{.first = *trained_ + 1, .last = line.step};
      if (line.step < line.steps->first || line.steps->first <= last_trained_) {
        throw_order(at, kTrainLoss, line.step, std::max(last_trained_, line.steps->first - 1));
      }
      if (last_trained_ > 0 && line.steps->first > last_trained_ + 1) throw_gap(at, line.steps->first);
      last_trained_ = line.step;
      trained_ = line.step;
    }
    if (line.value(kValidationLoss)) {
      if (line.step <= last_validated_) throw_order(at, kValidationLoss, line.step, last_validated_);
      last_validated_ = line.step;
    }
  }

 private:
  [[noreturn]] static void throw_unknown_begin(const Position& at) {
    throw core::InputError(
        "{}:{}: the line does not say which steps its loss is over: it was written by an earlier version, "
        "and run.json beside it does not say where the run began. Read it with the version that wrote it.",
        at.path.string(), at.line);
  }

  [[noreturn]] void throw_gap(const Position& at, int64_t first) const {
    throw core::InputError(
        "{}:{}: the losses of steps {} to {} are missing: this line begins at step {}, and the one before it "
        "ends at step {}. Lines were taken out of the file.",
        at.path.string(), at.line, last_trained_ + 1, first - 1, first, last_trained_);
  }

  [[noreturn]] static void throw_order(const Position& at, const char* name, int64_t step, int64_t before) {
    throw core::InputError(
        "{}:{}: a `{}` of step {} after one of step {}. The steps of a curve must rise: two trainings may "
        "have written to this file. Compare another run, or remove the lines of one of them.",
        at.path.string(), at.line, name, step, before);
  }

  std::optional<int64_t> trained_;  // the last step covered by the lines so far
  int64_t last_trained_ = 0;
  int64_t last_validated_ = 0;
};

}  // namespace

std::optional<double> MetricsLine::value(const std::string& name) const {
  const auto found =
      std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.first == name; });
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

LineWriter::LineWriter(const std::filesystem::path& path)
    : descriptor_(core::open_for_appending(path)), path_(path) {}

LineWriter::~LineWriter() {
  ::close(descriptor_);
}

void LineWriter::write(const MetricsLine& line) {
  write_text(line.step, to_text(line));
}

void LineWriter::write(const SampleLine& line) {
  write_text(line.step, to_text(line));
}

void LineWriter::write_text(int64_t step, const std::string& text) {
  ssize_t written = 0;
  do {
    written = ::write(descriptor_, text.data(), text.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(text.size())) return;

  const std::string reason = written < 0 ? core::system_message(errno) : "the disk is full";
  struct stat status {};
  if (written > 0 && ::fstat(descriptor_, &status) == 0) {
    // A partial line would merge with the next one. If truncating fails as well, readers still skip a partial
    // last line.
    [[maybe_unused]] const int ignored = ::ftruncate(descriptor_, status.st_size - written);
  }
  throw core::RunError("{}: the line of step {} could not be written: {}", path_.string(), step, reason);
}

void LineWriter::sync() {
  if (::fdatasync(descriptor_) != 0 && errno != EINVAL) {  // EINVAL: cannot be synced, such as a pipe
    throw core::RunError("{}: could not be synced: {}", path_.string(), core::system_message(errno));
  }
}

Metrics read_metrics(const std::filesystem::path& path, std::optional<int64_t> first_step) {
  Metrics metrics;
  Curves curves(first_step);
  const std::string text = core::read_text(path);
  int64_t lines = 0;
  const auto take = [&](std::string_view line, int64_t number) {
    lines = number;
    const Position at{path, number};
    std::string fault;
    const Fields object = parse_line(line, fault);
    if (!object.is_object()) {
      throw core::InputError(
          "{}:{}: {}. Only the last line may be torn; the file was damaged or is not a run's metrics.",
          path.string(), number, fault);
    }
    metrics.lines.push_back(to_line(object, at));
    curves.check(metrics.lines.back(), at);
  };
  const std::string_view rest = for_each_line(text, take);
  if (rest.empty()) return metrics;
  std::string ignored;
  if (!parse_line(rest, ignored).is_discarded()) {  // complete except for its line end
    take(rest, lines + 1);
  } else {
    metrics.torn_last_line = true;
  }
  return metrics;
}

std::optional<MetricsLine> read_last_loss(const std::filesystem::path& path) {
  constexpr uint64_t kTailBytes = 64 << 10;
  try {
    const core::InputFile file(path);
    const uint64_t offset = file.size() > kTailBytes ? file.size() - kTailBytes : 0;
    std::string text(file.size() - offset, '\0');
    text.resize(file.read_some(offset, std::as_writable_bytes(std::span(text))));
    for (size_t end = text.rfind('\n'); end != std::string::npos && end > 0;) {
      const size_t before = text.rfind('\n', end - 1);
      const size_t begin = before == std::string::npos ? 0 : before + 1;
      std::string ignored;
      const Fields object = parse_line(std::string_view(text).substr(begin, end - begin), ignored);
      if (object.is_object() && object.contains(kTrainLoss)) return to_line(object, Position{path, 0});
      end = before;
    }
  } catch (const core::InputError&) {  // missing, or damaged, which a full read reports
  }
  return std::nullopt;
}

void cut_lines_after(const std::filesystem::path& path, int64_t last_step) {
  if (!core::exists(path)) return;
  const std::string text = core::read_text(path);
  std::string kept;
  for_each_line(text, [&](std::string_view line, int64_t number) {
    std::string fault;
    const Fields object = parse_line(line, fault);
    if (fault.empty() && (!object.contains("step") || !object["step"].is_number_integer())) {
      fault = "not a JSON object with an integer `step`";
    }
    if (!fault.empty()) {
      throw core::InputError(
          "{}:{}: {}. The file is not a run's metrics, or it was damaged; remove that line to continue.",
          path.string(), number, fault);
    }
    if (object["step"].get<int64_t>() <= last_step) kept.append(line).push_back('\n');
  });
  if (kept.size() != text.size()) core::write_text_atomically(path, kept);
}

}  // namespace ssgpt::run
