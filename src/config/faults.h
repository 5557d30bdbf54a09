// Faults of a config, collected first and thrown together.
#pragma once

#include <compare>
#include <cstddef>
#include <set>
#include <string>

namespace ssgpt::config {

// Where a key or value was found.
struct Origin {
  std::string file;  // as the user named it, or "--set"
  int line = 0;      // from 1; 0: the file as a whole
  auto operator<=>(const Origin&) const = default;
};

struct Fault {
  Origin origin;
  std::string text;
  std::string unknown_key;  // the key that the text is about, for a hint; empty for other faults
  auto operator<=>(const Fault&) const = default;
};

// A set of faults, sorted by file and line. Only the first kMost found are kept, since a file of megabytes
// may have one in every line.
class Faults {
 public:
  static constexpr size_t kMost = 100;

  void add(Fault fault);
  void add(const Faults& others);
  bool empty() const { return kept_.empty(); }
  bool has_more() const { return has_more_; }  // more than are kept
  const std::set<Fault>& kept() const { return kept_; }

 private:
  std::set<Fault> kept_;
  bool has_more_ = false;
};

// Adds a fault that is not about an unknown key.
void add_fault(Faults& faults, Origin origin, std::string text);

// Throws one core::UsageError listing the faults by file and line; does nothing if there are none.
void throw_if_any(const Faults& faults);

}  // namespace ssgpt::config
