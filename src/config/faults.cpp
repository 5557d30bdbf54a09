#include "config/faults.h"

#include "core/error.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::config {

void add_fault(Faults& faults, Origin origin, std::string text) {
  faults.emplace_back();
  faults.back().origin = std::move(origin);
  faults.back().text = std::move(text);
}

void throw_if_any(Faults faults) {
  if (faults.empty()) {
    return;
  }
  std::sort(faults.begin(), faults.end());
  faults.erase(std::unique(faults.begin(), faults.end()), faults.end());  // of a file that is included twice
  std::string lines;
  for (const Fault& fault : faults) {
    const std::string place = fault.origin.line > 0
                                  ? fmt::format("{}:{}", fault.origin.file, fault.origin.line)
                                  : fault.origin.file;
    lines += fmt::format("{}{}: {}", faults.size() > 1 ? "\n  " : "", place, fault.text);
  }
  if (faults.size() == 1) {
    throw core::UsageError("{}", lines);
  }
  throw core::UsageError("{} faults in the config:{}", faults.size(), lines);
}

}  // namespace ssgpt::config
