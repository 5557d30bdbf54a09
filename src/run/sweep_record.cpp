#include "run/sweep_record.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/json_fields.h"
#include "run/metrics_line.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::run {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "ssgpt-sweep";
constexpr int64_t kVersion = 1;
constexpr const char* kRecordName = "sweep.json";

std::filesystem::path record_path(const std::filesystem::path& directory) {
  return directory / kRecordName;
}

Json to_json(const config::SweepRun& run) {
  Json grid = Json::object();
  // Numbers and booleans as JSON, anything else as text.
  for (const auto& [key, value] : run.grid) {
    const Json json = core::parse_json<Json>(value);
    grid[key] = json.is_discarded() ? Json(value) : json;
  }
  return {
      {"name", run.name}, {"variant", run.variant}, {"point", run.point}, {"grid", grid}, {"seed", run.seed}};
}

bool has_content(const std::filesystem::path& path, const std::string& text) {
  if (!core::is_regular_file(path)) return false;
  // A file of another size is not read.
  return core::InputFile(path).size() == text.size() && core::read_text(path) == text;
}

}  // namespace

std::filesystem::path sweep_config(const std::filesystem::path& directory, const std::string& run_name) {
  return directory / "configs" / fmt::format("{}.yaml", run_name);
}

void write_if_changed(const std::filesystem::path& path, const std::string& text) {
  if (has_content(path, text)) return;
  try {
    core::write_text_atomically(path, text);
  } catch (const core::RunError&) {
    // A process with the same PID on another machine uses the same temporary name.
    if (!has_content(path, text)) throw;
  }
}

void write_sweep_record(const std::filesystem::path& directory, const config::Sweep& sweep) {
  Json runs = Json::array();
  for (const config::SweepRun& run : sweep.runs) runs.push_back(to_json(run));
  const Json json = {
      {"format", kFormat}, {"version", kVersion}, {"baseline", sweep.variants.front()}, {"runs", runs}};
  write_if_changed(record_path(directory), core::json_text(json, 2) + "\n");
}

void require_own_files(const std::filesystem::path& directory, const config::Sweep& sweep,
                       const std::vector<std::filesystem::path>& results) {
  const auto refuse = [&](const std::filesystem::path& file) {
    throw core::UsageError(
        "{} is not a sweep's: there is no sweep in {}, and one that begins there would write over it. Choose "
        "another --run-dir, or move the file away.",
        file.string(), directory.string());
  };
  const std::filesystem::path record = record_path(directory);
  if (core::exists(record)) {
    const Json json = core::parse_json<Json>(core::read_text(record, core::kMaxJsonBytes));
    if (!json.is_object() || json.value("format", Json()) != kFormat) refuse(record);
    return;
  }
  // Another process may be starting the sweep right now; its first file, the record, then exists by now.
  const auto is_foreign = [&](const std::filesystem::path& file) {
    return core::exists(file) && !core::exists(record);
  };
  for (const config::SweepRun& run : sweep.runs) {
    const std::filesystem::path config = sweep_config(directory, run.name);
    if (is_foreign(config)) refuse(config);
  }
  for (const std::filesystem::path& file : results) {
    if (is_foreign(file)) refuse(file);
  }
}

void remove_temporaries(const std::filesystem::path& directory) {
  core::remove_temporaries(directory, [](std::string_view name) { return name == kRecordName; });
  core::remove_temporaries(directory / "configs",
                           [](std::string_view name) { return name.ends_with(".yaml"); });
}

bool holds_sweep(const std::filesystem::path& directory) {
  return core::exists(record_path(directory));
}

SweepRecord read_sweep_record(const std::filesystem::path& directory) {
  const core::JsonFields fields(record_path(directory));
  if (fields.text("format") != kFormat) fields.fail("format", fmt::format("\"{}\"", kFormat));
  if (fields.integer("version") != kVersion) {
    fields.fail("version", fmt::format("{}", kVersion), "the version that this program reads");
  }
  SweepRecord record{.baseline = fields.text("baseline"), .runs = {}};
  for (const core::JsonFields& run : fields.objects("runs")) {
    record.runs.push_back(
        {.name = run.text("name"), .variant = run.text("variant"), .point = run.text("point")});
    const std::string& name = record.runs.back().name;
    if (!core::is_name_inside(name) || name.find('/') != std::string::npos) {
      run.fail("name", "the name of a folder beside it");
    }
  }
  return record;
}

bool has_grid(const SweepRecord& record) {
  return std::any_of(record.runs.begin(), record.runs.end(),
                     [&](const SweepRecord::Run& run) { return run.point != record.runs.front().point; });
}

Expansion expand_sweeps(const std::vector<std::filesystem::path>& paths) {
  Expansion expansion;
  for (const std::filesystem::path& path : paths) {
    if (!holds_sweep(path)) {
      expansion.runs.push_back(path);
      continue;
    }
    const SweepRecord record = read_sweep_record(path);
    const bool gives_baseline = &path == &paths.front();
    if (gives_baseline) expansion.sweep_baseline = record.baseline;
    for (const SweepRecord::Run& one : record.runs) {
      const RunDirectory run(path / one.name);
      if (!read_last_loss(run.metrics())) {
        expansion.not_begun.push_back(run.path());
        continue;
      }
      expansion.runs.push_back(run.path());
      if (gives_baseline && one.variant == record.baseline && !expansion.baseline) {
        expansion.baseline = run.path();
      }
    }
  }
  return expansion;
}

}  // namespace ssgpt::run
