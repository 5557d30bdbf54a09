// A sweep file as written: its keys are read and checked one by one, and nothing is resolved yet.
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

// Placeholders in init_from for the name of a run's variant and for its seed.
inline constexpr std::array<std::string_view, 2> kPlaceholders = {"{variant}", "{seed}"};

struct SweepVariant {
  std::string name;
  YAML::Node changes;  // a mapping, or null
  Origin origin;
  std::set<std::string> keys;                       // the config keys that it sets
  std::optional<std::vector<uint64_t>> seeds = {};  // override those of the sweep
  std::optional<std::string> init_from = {};        // overrides that of the sweep
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
  bool base_is_known = false;          // false: the base, and so what the variants lack, is unknown
  std::vector<SweepVariant> variants;  // the baseline first
  std::vector<SweepAxis> grid;
  std::vector<uint64_t> seeds;
  std::optional<int64_t> jobs;  // nullopt: auto
  std::string init_from;        // with placeholders; empty: none
  Faults faults;                // of the whole file
};

// Throws core::InputError where a file cannot be read or parsed. Parts with faults are left out of the
// result.
SweepSource read_sweep_source(const std::filesystem::path& path);

}  // namespace ssgpt::config
