#include "core/memory.h"

#include <cstdio>
#include <unistd.h>

namespace ssgpt::core {

uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  unsigned long long total = 0;
  unsigned long long resident = 0;
  const int read = std::fscanf(file, "%llu %llu", &total, &resident);
  std::fclose(file);
  return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

// Not from getrusage, whose figure includes the pages of the parent process before exec.
uint64_t peak_resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) return 0;
  unsigned long long kibibytes = 0;
  for (char line[256]; std::fgets(line, sizeof line, file) != nullptr;) {
    if (std::sscanf(line, "VmHWM: %llu", &kibibytes) == 1) break;
  }
  std::fclose(file);
  return kibibytes * 1024;
}

}  // namespace ssgpt::core
