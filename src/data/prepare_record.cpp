#include "data/prepare_record.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/outputs.h"
#include "core/text.h"
#include "core/version.h"
#include "data/token_source.h"

#include <chrono>
#include <string_view>
#include <system_error>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {

namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr std::string_view kRecordName = "prepare.json";
// Inside the output, so that it is on the same file system: shards that will replace those of the output.
constexpr std::string_view kReplacementName = ".replacement";

// Whether `name` is SPLIT_NUMBER.bin.
bool is_shard_name(std::string_view name) {
  for (const std::string_view split : {"train_", "validation_"}) {
    if (name.starts_with(split) && name.ends_with(".bin")) {
      const std::string_view number = name.substr(split.size(), name.size() - split.size() - 4);
      return number.size() >= 6 && number.find_first_not_of("0123456789") == std::string_view::npos;
    }
  }
  return false;
}

bool is_own_name(std::string_view name) {
  return name == kRecordName || is_shard_name(name);
}

template <typename Predicate>
std::vector<fs::path> files_in(const fs::path& folder, Predicate wanted) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (wanted(entry.path().filename().string())) {
      files.push_back(entry.path());
    }
  }
  return files;
}

// A shard that got its final name just before the failure is not in the record yet. Without a record its
// origin would be unknown, and the next call would refuse the folder.
bool may_hold_shards(const fs::path& folder) {
  try {
    return !files_in(folder, is_shard_name).empty();
  } catch (const fs::filesystem_error&) {
    return true;
  }
}

void remove_files(const std::vector<fs::path>& files) {
  for (const fs::path& file : files) {
    std::error_code error;
    fs::remove(file, error);
    if (error) {
      throw core::RunError("{}: cannot be removed: {}", file.string(), error.message());
    }
  }
}

std::string differing_keys(const Json& before, const Json& after) {
  std::string keys;
  for (const auto& [key, value] : after.items()) {
    if (!before.contains(key) || before[key] != value) {
      keys += (keys.empty() ? "" : ", ") + key;
    }
  }
  return keys.empty() ? "none" : keys;
}

PrepareRecord parse_fields(const Json& json) {
  PrepareRecord record{.settings = core::json_text(json.at("settings")), .shards = {}};
  for (const Json& entry : json.at("shards")) {
    record.shards.push_back(
        {.shard = {.file = entry.at("file"),
                   .num_tokens = entry.at("tokens"),
                   .checksum = entry.at("checksum")},
         .validation = entry.at("split") == "validation",
         .next = {.document = entry.at("next_document"), .token = entry.at("next_token")}});
  }
  return record;
}

// Parses the record of the folder's shards. Throws if a field is missing or of another type, or if a name is
// not that of a shard, which would make it read a file elsewhere.
PrepareRecord parse_record(const fs::path& folder, const Json& json) {
  const std::string path = (folder / kRecordName).string();
  try {
    PrepareRecord record = parse_fields(json);
    for (const RecordedShard& recorded : record.shards) {
      if (is_shard_name(recorded.shard.file)) continue;
      throw core::InputError(
          "{}: '{}' in its list of shards is no name of a shard. Start over with --overwrite.", path,
          core::excerpt(recorded.shard.file));
    }
    return record;
  } catch (const Json::exception&) {
    throw core::InputError("{}: its list of shards is damaged. Start over with --overwrite.", path);
  }
}

void check_recorded_shards(const fs::path& folder, const PrepareRecord& record) {
  for (const RecordedShard& recorded : record.shards) {
    const fs::path path = folder / recorded.shard.file;
    if (!core::exists(path) || core::checksum_of_file(path) != recorded.shard.checksum) {
      throw core::InputError(
          "{}: missing, or not as {} describes it: the interrupted run cannot be continued. Start over with "
          "--overwrite.",
          path.string(), (folder / kRecordName).string());
    }
  }
}

// Contents of the folder's prepare.json; not an object if it is missing or damaged.
Json read_record(const fs::path& folder) {
  const fs::path path = folder / kRecordName;
  return core::exists(path) ? core::parse_json<Json>(core::read_text(path, kMaxRecordBytes)) : Json();
}

bool is_complete(const Json& json) {
  return json.is_object() && json.contains("settings") && json.contains("shards") &&
         json.value("complete", Json()) == true;
}

// The record of the unfinished shards in the folder.
PrepareRecord continue_in(const fs::path& folder, const Json& json, const std::string& settings) {
  PrepareRecord record = parse_record(folder, json);
  check_recorded_shards(folder, record);
  record.settings = settings;
  core::log::info("{}: continuing an interrupted run after its {} finished shards", folder.string(),
                  record.shards.size());
  return record;
}

// Continues an interrupted replacement with the same settings; deletes any other.
PrepareOutput open_replacement(const fs::path& output, const std::string& settings) {
  const fs::path folder = output / kReplacementName;
  const Json json = read_record(folder);
  if (json.is_object() && json.contains("settings") && json["settings"] == core::parse_json<Json>(settings)) {
    try {
      core::remove_temporaries(folder, is_own_name);
      return {folder, continue_in(folder, json, settings)};
    } catch (const core::InputError& error) {
      core::log::warning("{} Starting over.", error.what());
    }
  }
  discard_replacement(output);
  core::create_writable_directory(folder);
  return {folder, {.settings = settings, .shards = {}}};
}

// Marks the shards complete if counts are given, else unfinished.
void write_json(const fs::path& folder, const PrepareRecord& record, const Json* counts) {
  Json shards = Json::array();
  for (const RecordedShard& recorded : record.shards) {
    shards.push_back({{"file", recorded.shard.file},
                      {"split", recorded.validation ? "validation" : "train"},
                      {"tokens", recorded.shard.num_tokens},
                      {"checksum", recorded.shard.checksum},
                      {"next_document", recorded.next.document},
                      {"next_token", recorded.next.token}});
  }
  Json json = {{"complete", counts != nullptr},
               {"version", core::version()},
               {"revision", core::git_revision()},
               {"settings", core::parse_json<Json>(record.settings)}};
  if (counts != nullptr) json.update(*counts);
  json["shards"] = shards;
  core::write_text_atomically(folder / kRecordName, core::json_text(json, 2) + "\n");
}

}  // namespace

std::string settings_of(const PrepareOptions& options, int64_t vocab_size, int32_t eos_id) {
  Json inputs = Json::array();
  for (const fs::path& path : options.inputs) {
    const auto modified = std::chrono::file_clock::to_sys(fs::last_write_time(path)).time_since_epoch();
    inputs.push_back({{"path", path.string()},
                      {"bytes", core::InputFile(path).size()},
                      {"modified", std::chrono::duration_cast<std::chrono::seconds>(modified).count()}});
  }
  const TextOptions& text = options.text;
  const Json settings = {
      {"inputs", inputs},
      {"tokenizer",
       {{"path", options.tokenizer.string()},
        {"checksum", core::checksum_of_file(options.tokenizer)},
        {"vocab_size", vocab_size},
        {"eos_id", eos_id}}},
      {"field", text.field},
      {"document_separator", text.document_separator ? Json(*text.document_separator) : Json(nullptr)},
      {"split_documents_at", text.split_documents_at},
      {"on_bad", text.on_bad == OnBad::kSkip ? "skip" : "refuse"},
      {"validation_fraction", options.validation_fraction},
      {"seed", options.seed},
      {"shard_tokens", options.shard_tokens}};
  return core::json_text(settings);
}

void write_record(const fs::path& folder, const PrepareRecord& record) {
  write_json(folder, record, /*counts=*/nullptr);
}

void write_record(const fs::path& folder, const PrepareRecord& record, const Json& counts) {
  write_json(folder, record, &counts);
}

Json counts_of(const PrepareSummary& summary) {
  return {{"train", json_of(summary.train)},
          {"validation", json_of(summary.validation)},
          {"text_bytes", summary.text_bytes},
          {"left_out",
           {{"empty", summary.left_out.empty},
            {"bad", summary.left_out.bad},
            {"first_bad", summary.left_out.first_bad}}}};
}

Json json_of(const SplitCount& count) {
  return {{"documents", count.documents}, {"tokens", count.tokens}, {"shards", count.shards}};
}

void publish_output(const fs::path& output) {
  const fs::path replacement = output / kReplacementName;
  Json json = read_record(replacement);
  if (!is_complete(json)) {
    return;
  }
  std::unordered_set<std::string> names;
  try {
    for (const RecordedShard& recorded : parse_record(replacement, json).shards) {
      names.insert(recorded.shard.file);
    }
  } catch (const core::InputError& error) {
    core::log::warning("{}", error.what());
    return;
  }
  // A record that says "not complete" keeps anyone from taking the mixture for finished shards; the one that
  // says "complete" is written last, and until then all of this can be redone.
  const fs::path record_path = output / kRecordName;
  json["complete"] = false;
  core::write_text_atomically(record_path, core::json_text(json, 2) + "\n");
  remove_files(files_in(
      output, [&](const std::string& name) { return is_shard_name(name) && !names.contains(name); }));
  std::error_code error;
  for (const fs::path& shard : files_in(replacement, is_shard_name)) {
    fs::rename(shard, output / shard.filename(), error);
    if (error) {
      throw core::RunError("{}: cannot be moved to {}: {}", shard.string(), output.string(), error.message());
    }
  }
  core::sync_directory(output);
  fs::rename(replacement / kRecordName, record_path, error);
  if (error) {
    throw core::RunError("{}: cannot be written: {}", record_path.string(), error.message());
  }
  core::sync_directory(output);
  discard_replacement(output);
}

void clean_up(const fs::path& output, const PrepareOutput& opened, bool may_continue) {
  std::error_code error;
  if (opened.folder != output && !may_continue) {
    fs::remove_all(opened.folder, error);
  } else if (opened.record.shards.empty() && !may_hold_shards(opened.folder)) {
    fs::remove(opened.folder / kRecordName, error);
  }
}

void discard_replacement(const fs::path& output) {
  const fs::path replacement = output / kReplacementName;
  std::error_code error;
  fs::remove_all(replacement, error);
  if (error) {
    throw core::RunError("{}: cannot be removed: {}", replacement.string(), error.message());
  }
}

void refuse_inputs_in_output(const fs::path& output, const std::vector<fs::path>& inputs) {
  for (const fs::path& input : inputs) {
    std::error_code error;
    const fs::path file = fs::canonical(input, error);
    if (error) continue;  // its reader reports the error
    const bool is_written =
        is_own_name(file.filename().string()) && core::is_same_file(file.parent_path(), output);
    if (!is_written && !core::lies_under(file, output / kReplacementName)) continue;
    throw core::UsageError(
        "--out {}: {} is an input in a place where shards are written; write to another folder.",
        output.string(), input.string());
  }
}

PrepareOutput open_output(const fs::path& folder, bool overwrite, const std::string& settings) {
  const std::string name = folder.string();
  core::create_writable_directory(folder);
  core::remove_temporaries(folder, is_own_name);
  publish_output(folder);
  const std::vector<fs::path> shards = files_in(folder, is_shard_name);
  const Json json = read_record(folder);
  const bool complete = is_complete(json);
  if (shards.empty() && !complete) {
    discard_replacement(folder);
    return {folder, {.settings = settings, .shards = {}}};
  }
  if (overwrite) {
    return open_replacement(folder, settings);
  }
  if (!(json.is_object() && json.contains("complete") && json.contains("settings") &&
        json.contains("shards"))) {
    throw core::UsageError(
        "{}: holds token shards ({} and {} more files) without a {} that says what they are made of. Give "
        "another --out, or --overwrite to replace them.",
        name, shards.front().filename().string(), shards.size() - 1, kRecordName);
  }
  const std::string differing = differing_keys(json["settings"], core::parse_json<Json>(settings));
  if (complete) {
    throw core::UsageError(
        "{}: holds finished token shards already, {}. Give another --out, or --overwrite to replace them.",
        name,
        differing == "none" ? "made with the same settings"
                            : fmt::format("made with other settings ({})", differing));
  }
  if (differing != "none") {
    throw core::UsageError(
        "{}: holds shards of an interrupted run with other settings ({}). Repeat its command to continue it, "
        "give another --out, or --overwrite to start over.",
        name, differing);
  }
  return {folder, continue_in(folder, json, settings)};
}

}  // namespace ssgpt::data
