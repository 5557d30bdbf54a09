// What is wrong with a config: gathered first, thrown together.
#pragma once

#include <compare>
#include <cstddef>
#include <set>
#include <string>

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
  std::string unknown_key;  // that the text is about: a hint follows it; empty: about something else
  auto operator<=>(const Fault&) const = default;
};

// By file and line, each once. A file of megabytes may have a fault in each line: only the first that are
// found are kept.
class Faults {
 public:
  static constexpr size_t kMost = 100;

  void add(Fault fault);
  void add(const Faults& others);
  bool empty() const { return kept_.empty(); }
  bool has_more() const { return has_more_; }  // than are kept
  const std::set<Fault>& kept() const { return kept_; }

 private:
  std::set<Fault> kept_;
  bool has_more_ = false;
};

// A fault that is not about an unknown key.
void add_fault(Faults& faults, Origin origin, std::string text);

// Throws one core::UsageError that lists the faults by file and line; returns where there are none.
void throw_if_any(const Faults& faults);

}  // namespace ssgpt::config
