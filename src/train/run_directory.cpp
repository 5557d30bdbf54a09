#include "train/run_directory.h"

#include "core/error.h"
#include "core/file.h"
#include "core/version.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <random>
#include <string_view>
#include <sys/file.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <torch/headeronly/version.h>

namespace ssgpt::train {
namespace {

using Json = nlohmann::ordered_json;

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

Json hardware(const std::optional<GpuDescription>& gpu) {
  utsname system{};
  uname(&system);
  struct sysinfo memory {};
  sysinfo(&memory);
  Json json = {{"host", system.nodename},
               {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
               {"cpu", cpu_name()},
               {"cpu_capability", at::get_cpu_capability()},
               {"threads", at::get_num_threads()},
               {"memory_bytes", static_cast<uint64_t>(memory.totalram) * memory.mem_unit}};
  if (gpu) {
    json["gpu"] = {{"name", gpu->name},
                   {"compute_capability", fmt::format("{}.{}", gpu->compute_major, gpu->compute_minor)},
                   {"memory_bytes", gpu->memory_bytes}};
  }
  return json;
}

std::optional<Json> read_json(const std::filesystem::path& run_directory) {
  const std::filesystem::path path = record_path(run_directory);
  if (!std::filesystem::exists(path)) return std::nullopt;
  Json record = Json::parse(core::read_text(path), nullptr, /*allow_exceptions=*/false);
  if (!record.is_object())
    throw core::InputError("{} is not a run record: it is no JSON object.", path.string());
  return record;
}

}  // namespace

std::filesystem::path config_path(const std::filesystem::path& run_directory) {
  return run_directory / "config.yaml";
}
std::filesystem::path record_path(const std::filesystem::path& run_directory) {
  return run_directory / "run.json";
}
std::filesystem::path metrics_path(const std::filesystem::path& run_directory) {
  return run_directory / "metrics.jsonl";
}
std::filesystem::path samples_path(const std::filesystem::path& run_directory) {
  return run_directory / "samples.jsonl";
}
std::filesystem::path log_path(const std::filesystem::path& run_directory) {
  return run_directory / "log.txt";
}

bool holds_run(const std::filesystem::path& run_directory) {
  return std::filesystem::exists(record_path(run_directory)) ||
         std::filesystem::exists(metrics_path(run_directory)) ||
         std::filesystem::exists(run_directory / "checkpoints");
}

std::optional<RunRecord> read_run_record(const std::filesystem::path& run_directory) {
  const std::optional<Json> json = read_json(run_directory);
  if (!json) return std::nullopt;
  try {
    RunRecord record;
    record.run_id = json->at("run_id").get<std::string>();
    record.command_line = json->at("command").get<std::string>();
    record.data_fingerprint = json->at("data_fingerprint").get<std::string>();
    record.validation_fingerprint = json->value("validation_fingerprint", std::string());
    record.validation_windows = json->value("validation_windows", int64_t{0});
    record.validation_since = json->value("validation_since", int64_t{0});
    record.num_parameters = json->at("num_parameters").get<int64_t>();
    if (json->contains("first_step")) record.first_step = json->at("first_step").get<int64_t>();
    if (json->contains("parent")) record.parent = json->at("parent").get<std::string>();
    if (json->contains("manual_swap")) {
      const Json& swap = json->at("manual_swap");
      const auto kind = config::parse_attention_kind(swap.at("kind").get<std::string>());
      if (kind) record.manual_swap = {.at_step = swap.at("at_step").get<int64_t>(), .kind = *kind};
    }
    return record;
  } catch (const Json::exception& error) {
    throw core::InputError("{} is not a run record: {}.", record_path(run_directory).string(), error.what());
  }
}

void inherit(const RunRecord& earlier, int64_t step, RunRecord& record) {
  record.first_step = earlier.first_step;
  record.parent = earlier.parent;
  if (record.validation_fingerprint.empty()) {  // it validates nothing: the losses there are stay as they are
    record.validation_fingerprint = earlier.validation_fingerprint;
    record.validation_windows = earlier.validation_windows;
    record.validation_since = earlier.validation_since;
    return;
  }
  const bool same = record.validation_fingerprint == earlier.validation_fingerprint &&
                    record.validation_windows == earlier.validation_windows;
  // What comes after `step` is made again.
  record.validation_since = same ? std::min(earlier.validation_since, step) : step;
}

std::string new_run_id() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

void write_run_files(const std::filesystem::path& run_directory, const config::Config& config,
                     const RunRecord& record, int64_t num_ranks, const std::optional<GpuDescription>& gpu) {
  core::write_text_atomically(config_path(run_directory), config::dump(config));
  std::optional<Json> earlier = read_json(run_directory);
  if (earlier && (*earlier)["run_id"] != record.run_id) earlier.reset();
  Json sessions = earlier && earlier->contains("sessions") ? (*earlier)["sessions"] : Json::array();
  const Json hardware_now = hardware(gpu);
  sessions.push_back({{"started", utc_now()},
                      {"command", record.command_line},
                      {"revision", core::git_revision()},
                      {"host", hardware_now["host"]},
                      {"ranks", num_ranks},
                      {"threads", hardware_now["threads"]}});
  if (gpu) sessions.back()["gpu"] = gpu->name;
  Json json = {{"run_id", record.run_id},
               {"name", config.run.name},
               {"command", sessions.front()["command"]},
               {"revision", core::git_revision()},
               {"versions",
                {{"ssgpt", core::version()}, {"libtorch", TORCH_VERSION}, {"compiler", "gcc " __VERSION__}}},
               {"hardware", hardware_now},
               {"num_parameters", record.num_parameters},
               {"data_fingerprint", record.data_fingerprint},
               {"sessions", sessions}};
  if (!record.validation_fingerprint.empty()) {
    json["validation_fingerprint"] = record.validation_fingerprint;
    json["validation_windows"] = record.validation_windows;
    if (record.validation_since > 0) json["validation_since"] = record.validation_since;
  }
  if (record.first_step) json["first_step"] = *record.first_step;
  if (record.manual_swap) {
    json["manual_swap"] = {{"at_step", record.manual_swap->at_step},
                           {"kind", to_string(record.manual_swap->kind)}};
  }
  if (record.parent) json["parent"] = *record.parent;
  core::write_text_atomically(record_path(run_directory), json.dump(2) + "\n");
}

RunLock::RunLock(const std::filesystem::path& run_directory) {
  const std::filesystem::path path = run_directory / ".lock";
  descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) {
    throw core::RunError("{} cannot be opened for writing: {}.", path.string(), std::strerror(errno));
  }
  // Some network file systems have no locks; there the run goes on without one.
  if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    close(descriptor_);
    throw core::UsageError("Another process is training into {}: wait for it, or choose another --run-dir.",
                           run_directory.string());
  }
}

RunLock::~RunLock() {
  close(descriptor_);
}

}  // namespace ssgpt::train
