#include "report/run_data.h"

#include "core/error.h"
#include "core/file.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using nlohmann::json;

// Where a line stands, for messages.
struct Position {
  const std::filesystem::path& path;
  int64_t line;
};

int64_t integer(const json& object, const char* name, const Position& at, int64_t least) {
  const auto found = object.find(name);
  // An unsigned value above the largest int64_t reads as a negative one.
  if (found != object.end() && found->is_number_integer() && found->get<int64_t>() >= least)
    return found->get<int64_t>();
  throw core::InputError(
      "{}:{}: `{}` is {}, not a whole number of {} or more. The line is no record of a training; the file "
      "was "
      "damaged or is not a run's metrics.",
      at.path.string(), at.line, name, found == object.end() ? "missing" : found->dump(), least);
}

double loss_value(const json& value, const char* name, const Position& at) {
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!value.is_number()) {
    throw core::InputError(
        "{}:{}: `{}` is {}, neither a number nor null. The file was damaged or is not a run's metrics.",
        at.path.string(), at.line, name, value.dump());
  }
  const double loss = value.get<double>();
  return std::isfinite(loss) ? loss : std::numeric_limits<double>::quiet_NaN();
}

[[noreturn]] void throw_order(const Position& at, const char* name, int64_t step, int64_t before) {
  throw core::InputError(
      "{}:{}: a `{}` of step {} after one of step {}. The steps of a curve must rise: two trainings may "
      "have written to this file. Compare another run, or remove the lines of one of them.",
      at.path.string(), at.line, name, step, before);
}

// The last step before the first line. What log.every is at present need not be what it was then: a resume
// may change it.
int64_t begin_of_first(int64_t step, const RunData& run) {
  if (run.first_step) return *run.first_step;
  if (run.info != "{}" && run.parent.empty()) return 0;
  return std::max<int64_t>(0, step - run.config.log.every);
}

void add_record(const json& object, const Position& at, RunData& run) {
  const int64_t step = integer(object, "step", at, /*least=*/1);
  const int64_t tokens = integer(object, "tokens", at, /*least=*/0);
  if (const auto found = object.find("train/loss"); found != object.end()) {
    const int64_t before = run.train.empty() ? begin_of_first(step, run) : run.train.back().last_step;
    if (step <= before) throw_order(at, "train/loss", step, before);
    run.train.push_back({before + 1, step, tokens, loss_value(*found, "train/loss", at)});
  }
  if (const auto found = object.find("validation/loss"); found != object.end()) {
    if (!run.validation.empty() && step <= run.validation.back().step) {
      throw_order(at, "validation/loss", step, run.validation.back().step);
    }
    run.validation.push_back({step, tokens, loss_value(*found, "validation/loss", at)});
  }
}

void read_metrics(const std::filesystem::path& path, RunData& run) {
  const std::string text = core::read_text(path);
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const bool whole = end != std::string::npos;
    const std::string_view line(text.data() + begin, (whole ? end : text.size()) - begin);
    begin = whole ? end + 1 : text.size();
    const Position at{path, ++number};
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) {
      if (!whole) {
        run.torn_last_line = true;
        return;
      }
      throw core::InputError(
          "{}:{}: not a JSON object. Only the last line may be torn; the file was damaged or is not a "
          "run's metrics.",
          path.string(), number);
    }
    add_record(object, at, run);
  }
}

// A swap by hand, which the config does not have.
std::optional<config::SwapAttention> read_manual_swap(const json& info, const std::filesystem::path& path) {
  const auto swap = info.find("manual_swap");
  if (swap == info.end() || swap->is_null()) return std::nullopt;
  const json step = swap->is_object() ? swap->value("at_step", json()) : json();
  const json name = swap->is_object() ? swap->value("kind", json()) : json();
  const auto kind = name.is_string() ? config::parse_attention_kind(name.get<std::string>()) : std::nullopt;
  if (!kind || !step.is_number_integer()) {
    throw core::InputError(
        "{}: `manual_swap` is {}, not a step `at_step` and an attention `kind`; the file was damaged.",
        path.string(), swap->dump());
  }
  return config::SwapAttention{.at_step = step.get<int64_t>(), .kind = *kind};
}

// Empty where the field is absent or null.
std::string text_of(const json& info, const char* name, const std::filesystem::path& path) {
  const auto found = info.find(name);
  if (found == info.end() || found->is_null()) return "";
  if (!found->is_string()) {
    throw core::InputError("{}: `{}` is {}, not a string; the file was damaged.", path.string(), name,
                           found->dump());
  }
  return found->get<std::string>();
}

std::optional<int64_t> count_of(const json& info, const char* name, const std::filesystem::path& path) {
  const auto found = info.find(name);
  if (found == info.end()) return std::nullopt;
  if (found->is_number_integer() && found->get<int64_t>() >= 0) return found->get<int64_t>();
  throw core::InputError("{}: `{}` is {}, not a whole number of 0 or more; the file was damaged.",
                         path.string(), name, found->dump());
}

void read_info(const std::filesystem::path& path, RunData& run) {
  run.info = "{}";
  if (!std::filesystem::exists(path)) return;
  const json info = json::parse(core::read_text(path), nullptr, /*allow_exceptions=*/false);
  if (!info.is_object())
    throw core::InputError("{}: not a JSON object; the file was damaged.", path.string());
  run.info = core::read_text(path);
  run.manual_swap = read_manual_swap(info, path);
  run.parent = text_of(info, "parent", path);
  run.data_fingerprint = text_of(info, "data_fingerprint", path);
  run.validation_fingerprint = text_of(info, "validation_fingerprint", path);
  run.first_step = count_of(info, "first_step", path);
  run.validation_windows = count_of(info, "validation_windows", path);
  run.validation_since = count_of(info, "validation_since", path).value_or(0);
}

}  // namespace

RunData read_run(const std::filesystem::path& directory) {
  if (!std::filesystem::is_directory(directory)) {
    throw core::InputError(
        "{}: no such run directory. A run is a directory that `ssgpt train` wrote, with config.yaml and "
        "metrics.jsonl in it.",
        directory.string());
  }
  for (const char* name : {"config.yaml", "metrics.jsonl"}) {
    if (!std::filesystem::exists(directory / name)) {
      throw core::InputError(
          "{}: holds no {}, so it is not a run directory (those that `ssgpt train` writes have config.yaml "
          "and metrics.jsonl in them).",
          directory.string(), name);
    }
  }
  RunData run;
  run.directory = directory;
  run.config = config::load(directory / "config.yaml", {});
  read_info(directory / "run.json", run);
  read_metrics(directory / "metrics.jsonl", run);
  if (run.train.empty()) {
    throw core::InputError(
        "{}: holds no training loss yet. Let the run reach its first logged step (log.every is {}).",
        (directory / "metrics.jsonl").string(), run.config.log.every);
  }
  return run;
}

}  // namespace ssgpt::report
