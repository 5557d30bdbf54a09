#include "config/faults.h"

#include "config/schema.h"
#include "core/error.h"

#include <utility>

#include <fmt/format.h>

namespace ssgpt::config {

namespace {

constexpr int kMostHints = 20;  // each compares the key with all known keys

}  // namespace

void Faults::add(Fault fault) {
  if (kept_.size() < kMost) {
    kept_.insert(std::move(fault));
  } else if (!kept_.contains(fault)) {
    has_more_ = true;
  }
}

void Faults::add(const Faults& others) {
  for (const Fault& fault : others.kept_) add(fault);
  has_more_ |= others.has_more_;
}

void add_fault(Faults& faults, Origin origin, std::string text) {
  faults.add({std::move(origin), std::move(text), /*unknown_key=*/""});
}

void throw_if_any(const Faults& faults) {
  if (faults.empty()) {
    return;
  }
  const size_t count = faults.kept().size();
  std::string lines;
  int hints = 0;
  for (const Fault& fault : faults.kept()) {
    const std::string place = fault.origin.line > 0
                                  ? fmt::format("{}:{}", fault.origin.file, fault.origin.line)
                                  : fault.origin.file;
    lines += fmt::format("{}{}: {}", count > 1 ? "\n  " : "", place, fault.text);
    if (!fault.unknown_key.empty() && hints++ < kMostHints) {
      const std::string hint = hint_for_unknown(fault.unknown_key);
      if (!hint.empty()) lines += fmt::format("; {}", hint);
    }
  }
  if (faults.has_more()) {
    throw core::UsageError("more than {} faults in the config:{}\n  and more", count, lines);
  }
  if (count == 1) {
    throw core::UsageError("{}", lines);
  }
  throw core::UsageError("{} faults in the config:{}", count, lines);
}

}  // namespace ssgpt::config
