// What is wrong with a config: gathered first, thrown together.
#pragma once

#include <compare>
#include <string>
#include <vector>

namespace ssgpt::config {

// Where a key or value stands.
struct Origin {
  std::string file;  // as it was named by the user, or "--set"
  int line = 0;      // from 1; 0: the file as a whole
  auto operator<=>(const Origin&) const = default;
};

struct Fault {
  Origin origin;
  std::string text;
  auto operator<=>(const Fault&) const = default;
};

using Faults = std::vector<Fault>;

void add_fault(Faults& faults, Origin origin, std::string text);

// Throws one core::UsageError that lists all faults by file and line; returns where there are none.
void throw_if_any(Faults faults);

}  // namespace ssgpt::config
