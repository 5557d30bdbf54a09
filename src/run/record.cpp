#include "run/record.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/version.h"

#include <ctime>
#include <initializer_list>
#include <random>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <torch/headeronly/version.h>

namespace ssgpt::run {
namespace {

using Json = nlohmann::ordered_json;

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Json to_json(const device::Machine& machine) {
  Json json = {{"host", machine.host},       {"system", machine.system},
               {"cpu", machine.cpu},         {"cpu_capability", machine.cpu_capability},
               {"threads", machine.threads}, {"memory_bytes", machine.memory_bytes}};
  if (machine.gpu) {
    json["gpu"] = {
        {"name", machine.gpu->name},
        {"compute_capability", fmt::format("{}.{}", machine.gpu->compute_major, machine.gpu->compute_minor)},
        {"memory_bytes", machine.gpu->memory_bytes}};
  }
  return json;
}

Json to_json(const Session& session) {
  Json json = {{"started", session.started}, {"command", session.command}, {"revision", session.revision},
               {"host", session.host},       {"ranks", session.ranks},     {"threads", session.threads}};
  if (!session.gpu.empty()) json["gpu"] = session.gpu;
  return json;
}

Session to_session(const core::JsonFields& fields) {
  return {.started = fields.optional_text("started").value_or(""),
          .command = fields.optional_text("command").value_or(""),
          .revision = fields.optional_text("revision").value_or(""),
          .host = fields.optional_text("host").value_or(""),
          .ranks = fields.optional_count("ranks").value_or(1),
          .threads = fields.optional_count("threads").value_or(0),
          .gpu = fields.optional_text("gpu").value_or("")};
}

// Copies those texts, or counts, that are present.
void copy_texts(const core::JsonFields& from, std::initializer_list<const char*> keys, Json& to) {
  for (const char* key : keys) {
    if (const auto text = from.optional_text(key)) to[key] = *text;
  }
}
void copy_counts(const core::JsonFields& from, std::initializer_list<const char*> keys, Json& to) {
  for (const char* key : keys) {
    if (const auto count = from.optional_count(key)) to[key] = *count;
  }
}

Json copy_hardware(const core::JsonFields& from) {
  Json hardware = Json::object();
  copy_texts(from, {"host", "system", "cpu", "cpu_capability"}, hardware);
  copy_counts(from, {"threads", "memory_bytes"}, hardware);
  if (from.has("gpu")) {
    const core::JsonFields gpu = from.object("gpu");
    copy_texts(gpu, {"name", "compute_capability"}, hardware["gpu"]);
    copy_counts(gpu, {"memory_bytes"}, hardware["gpu"]);
  }
  return hardware;
}

}  // namespace

std::string new_run_id() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

Session new_session(const std::string& command, int64_t ranks, const device::Machine& machine) {
  return {.started = utc_now(),
          .command = command,
          .revision = std::string(core::git_revision()),
          .host = machine.host,
          .ranks = ranks,
          .threads = machine.threads,
          .gpu = machine.gpu ? machine.gpu->name : ""};
}

bool is_record(const RunDirectory& directory) {
  if (!core::exists(directory.record())) return false;
  const Json json = core::parse_json<Json>(core::read_text(directory.record(), core::kMaxJsonBytes));
  return json.is_object() && (json.contains("run_id") || json.contains("parent"));
}

std::optional<Record> read_record(const RunDirectory& directory) {
  if (!core::exists(directory.record())) return std::nullopt;
  const core::JsonFields fields(directory.record());
  Record record;
  record.run_id = fields.optional_text("run_id").value_or("");
  record.name = fields.optional_text("name").value_or("");
  record.command = fields.optional_text("command").value_or("");
  record.num_parameters = fields.optional_count("num_parameters").value_or(0);
  record.data_fingerprint = fields.optional_text("data_fingerprint").value_or("");
  record.tokenizer_fingerprint = fields.optional_text("tokenizer_fingerprint").value_or("");
  record.beginning = read_beginning(fields);
  for (const core::JsonFields& session : fields.objects("sessions")) {
    record.sessions.push_back(to_session(session));
  }
  return record;
}

std::optional<Keeper> keeper_of(const std::filesystem::path& checkpoint, const std::string& run_id) {
  namespace fs = std::filesystem;
  for (const fs::path& named :
       {fs::absolute(checkpoint).lexically_normal(), fs::weakly_canonical(checkpoint)}) {
    const fs::path path = named.has_filename() ? named : named.parent_path();  // without a slash at the end
    const RunDirectory directory(run_of(path));
    if (directory.path() == path) continue;  // not in a folder of checkpoints
    std::optional<Record> record = read_record(directory);
    if (record && record->run_id == run_id) return Keeper{directory, path, std::move(*record)};
  }
  return std::nullopt;
}

Json known_fields(const RunDirectory& directory) {
  Json json = Json::object();
  if (!core::exists(directory.record())) return json;
  const core::JsonFields fields(directory.record());
  copy_texts(fields, {"run_id", "name", "command", "revision"}, json);
  if (fields.has("versions")) {
    json["versions"] = Json::object();
    copy_texts(fields.object("versions"), {"ssgpt", "libtorch", "compiler"}, json["versions"]);
  }
  if (fields.has("hardware")) json["hardware"] = copy_hardware(fields.object("hardware"));
  copy_counts(fields, {"num_parameters"}, json);
  copy_texts(fields, {"data_fingerprint", "tokenizer_fingerprint"}, json);
  if (fields.has("sessions")) {
    json["sessions"] = Json::array();
    for (const core::JsonFields& session : fields.objects("sessions")) {
      json["sessions"].push_back(to_json(to_session(session)));
    }
  }
  add_beginning(read_beginning(fields), json);
  return json;
}

void write_record(const RunDirectory& directory, const Record& record, const device::Machine& machine) {
  Json json = {{"run_id", record.run_id},
               {"name", record.name},
               {"command", record.command},
               {"revision", core::git_revision()},
               {"versions",
                {{"ssgpt", core::version()}, {"libtorch", TORCH_VERSION}, {"compiler", "gcc " __VERSION__}}},
               {"hardware", to_json(machine)},
               {"num_parameters", record.num_parameters},
               {"data_fingerprint", record.data_fingerprint},
               {"tokenizer_fingerprint", record.tokenizer_fingerprint},
               {"sessions", Json::array()}};
  for (const Session& session : record.sessions) json["sessions"].push_back(to_json(session));
  add_beginning(record.beginning, json);
  core::write_text_atomically(directory.record(), core::json_text(json, 2) + "\n");
}

std::optional<config::SwapAttention> earlier_swap(const core::JsonFields& fields) {
  if (!fields.has("manual_swap")) return std::nullopt;
  const core::JsonFields swap = fields.object("manual_swap");
  const auto kind = config::parse_attention_kind(swap.text("kind"));
  if (!kind) swap.fail("kind", fmt::format("one of {}", fmt::join(config::attention_kind_names(), ", ")));
  return config::SwapAttention{.at_step = swap.count("at_step"), .kind = *kind};
}

config::Config read_config(const RunDirectory& directory) {
  config::Config config = config::load_stored(directory.config());
  config::resolve_total_steps(config);
  if (!core::exists(directory.record())) return config;
  const auto swap = earlier_swap(core::JsonFields(directory.record()));
  if (swap) config::add_swap(config, *swap);
  return config;
}

}  // namespace ssgpt::run
