// A sweep file as it stands: its keys read and checked one by one, nothing resolved yet.
#pragma once

#include "config/faults.h"
#include "config/source.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <yaml-cpp/node/node.h>

namespace ssgpt::config {

// What init_from may hold for the name of a run's variant and for its seed.
inline constexpr std::array<std::string_view, 2> kPlaceholders = {"{variant}", "{seed}"};

struct SweepVariant {
  std::string name;
  YAML::Node changes;  // a mapping, or null
  Origin origin;
  std::set<std::string> keys;                       // that it sets
  std::optional<std::vector<uint64_t>> seeds = {};  // in place of the sweep's
  std::optional<std::string> init_from = {};        // likewise
};

// One key of the grid.
struct SweepAxis {
  std::string key;
  Origin origin;
  std::vector<std::pair<YAML::Node, Origin>> values;  // scalars, at least one
};

struct SweepSource {
  std::string file;
  std::filesystem::path directory;  // of the file; includes are relative to it
  Source base;
  bool base_is_known = false;          // false: what it says, and so what the variants lack, is not known
  std::vector<SweepVariant> variants;  // the baseline first
  std::vector<SweepAxis> grid;
  std::vector<uint64_t> seeds;
  std::optional<int64_t> jobs;  // none: auto
  std::string init_from;        // with its placeholders; empty: none
  Faults faults;                // of all this
};

// Throws core::InputError where a file cannot be read or parsed. Where there are faults, what they are of is
// left out.
SweepSource read_sweep_source(const std::filesystem::path& path);

}  // namespace ssgpt::config
