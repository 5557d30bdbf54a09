#include "kernels/cpu/table.h"

#include <atomic>

namespace ssgpt::kernels::cpu {

// Defined by loops.cpp, once per instruction set of the build (see CMakeLists.txt).
namespace baseline {
extern const Table kTable;
}
#if defined(SSGPT_X86_64_LEVELS)
namespace x86_64_v3 {
extern const Table kTable;
}
namespace x86_64_v4 {
extern const Table kTable;
}
#endif

namespace {

std::vector<const Table*> find_tables() {
  std::vector<const Table*> tables = {&baseline::kTable};
#if defined(SSGPT_X86_64_LEVELS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v3")) tables.push_back(&x86_64_v3::kTable);
  if (__builtin_cpu_supports("x86-64-v4")) tables.push_back(&x86_64_v4::kTable);
#endif
  return tables;
}

std::atomic<const Table*>& current() {
  static std::atomic<const Table*> table = available_tables().back();
  return table;
}

}  // namespace

const std::vector<const Table*>& available_tables() {
  static const std::vector<const Table*> tables = find_tables();
  return tables;
}

const Table& table() {
  return *current().load(std::memory_order_relaxed);
}

void use_table(const Table& table) {
  current().store(&table, std::memory_order_relaxed);
}

}  // namespace ssgpt::kernels::cpu
