#include "bench/processor.h"

#include "core/text.h"
#include "device/machine.h"
#include "kernels/cpu/table.h"

#include <fstream>
#include <map>
#include <vector>

#include <ATen/Version.h>
#include <fmt/format.h>

namespace ssgpt::bench {
namespace {

// Fields of the first core in /proc/cpuinfo.
std::map<std::string, std::string> first_core() {
  std::map<std::string, std::string> values;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line) && !line.empty();) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string key = line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1);
    values[key] = colon + 2 < line.size() ? line.substr(colon + 2) : "";
  }
  return values;
}

std::string first_line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "2048K" is 2 MiB.
std::string cache_size(const std::string& text) {
  const auto kibibytes = core::parse_number<int64_t>(text.substr(0, text.find('K')));
  if (!kibibytes) return text;
  return *kibibytes % 1024 == 0 && *kibibytes >= 1024 ? fmt::format("{} MiB", *kibibytes / 1024)
                                                      : fmt::format("{} KiB", *kibibytes);
}

std::vector<Cache> caches_of_first_core() {
  std::vector<Cache> caches;
  for (int index = 0; index < 8; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    const std::string level = first_line_of(folder + "level");
    const std::string type = first_line_of(folder + "type");
    if (level.empty() || type == "Instruction") continue;
    caches.push_back({.name = fmt::format("L{}{}", level, type == "Data" ? "d" : ""),
                      .size = cache_size(first_line_of(folder + "size"))});
  }
  return caches;
}

}  // namespace

Processor this_processor() {
  std::map<std::string, std::string> core = first_core();
  Processor processor;
  processor.name = core["model name"].empty() ? "an unknown processor" : core["model name"];
  processor.family = core::parse_number<int64_t>(core["cpu family"]).value_or(0);
  processor.model = core::parse_number<int64_t>(core["model"]).value_or(0);
  processor.caches = caches_of_first_core();
  processor.fma_units = fma_units(core["vendor_id"], processor.family, processor.model);
  if (!processor.fma_units) {
    if (const auto rates = measure_fma_rates()) processor.fma_units = fma_units(*rates);
    processor.fma_units_are_measured = processor.fma_units.has_value();
  }
  processor.bf16 = device::bf16_instructions().value_or(std::vector<std::string>());
  processor.our_loops = kernels::cpu::table().name;
  processor.aten_vectors = at::get_cpu_capability();
  return processor;
}

std::string to_string(const Processor& processor) {
  std::string text =
      fmt::format("{} (family {}, model {})", processor.name, processor.family, processor.model);
  for (const Cache& cache : processor.caches) text += fmt::format(", {} {}", cache.name, cache.size);
  text += fmt::format("; ours for {}, ATen's for {}", processor.our_loops, processor.aten_vectors);
  if (const auto& units = processor.fma_units) {
    text += fmt::format("; {} FMA units of {} bits per core{}", units->number, units->bits,
                        processor.fma_units_are_measured ? " (measured)" : "");
  }
  if (!processor.bf16.empty()) text += fmt::format("; has {}", core::listed(processor.bf16));
  return text;
}

}  // namespace ssgpt::bench
