#include "device/machine.h"

#include <fstream>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>

namespace ssgpt::device {
namespace {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace

Machine this_machine(std::optional<GpuDescription> gpu) {
  utsname system{};
  uname(&system);
  struct sysinfo memory {};
  sysinfo(&memory);
  return {.host = system.nodename,
          .system = fmt::format("{} {} {}", system.sysname, system.release, system.machine),
          .cpu = cpu_name(),
          .cpu_capability = at::get_cpu_capability(),
          .threads = at::get_num_threads(),
          .memory_bytes = static_cast<uint64_t>(memory.totalram) * memory.mem_unit,
          .gpu = std::move(gpu)};
}

std::optional<std::vector<std::string>> bf16_instructions() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  std::vector<std::string> sets;
  if (__builtin_cpu_supports("amx-bf16")) sets.emplace_back("AMX-BF16");
  if (__builtin_cpu_supports("avx512bf16")) sets.emplace_back("AVX512-BF16");
  return sets;
#else
  return std::nullopt;
#endif
}

}  // namespace ssgpt::device
