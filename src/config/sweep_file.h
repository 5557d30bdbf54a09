// A sweep: variants of one base config, each trained with the same seeds, read from one YAML (or JSON) file
// and resolved to the config of every run. Knows no run directories.
#pragma once

#include "config/config.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ssgpt::config {

struct SweepRun {
  std::string name;     // of its folder: "ssmax-seed1", "ssmax-lr2e-3-seed1"
  std::string variant;  // "ssmax"
  std::string point;    // of the grid: "lr2e-3"; empty without one
  std::vector<std::pair<std::string, std::string>> grid;  // "optimizer.lr" and "2e-3", as written in the file
  uint64_t seed = 0;
  Config config;                         // run.name is the variant with its point, run.seed is `seed`
  std::filesystem::path init_from = {};  // run or checkpoint that provides the initial weights; empty: none
};

struct Sweep {
  std::vector<std::string> variants;  // the baseline first, the others in the order of the file
  std::vector<std::string> points;    // in file order, the first key varying slowest; {""}: no grid
  std::optional<int64_t> jobs;        // nullopt: auto
  std::vector<SweepRun> runs;         // by seed, then point, then variant, so that pairs complete early
};

// Reads a file of the form
//   base: FILE | {section: ...}         a config; a file is looked for beside the sweep file
//   variants: {NAME: {key: value}}      keys dotted or nested, with include: as in a config; seeds: and
//                                       init_from: in place of the sweep's
//   seeds: [1, 2] | COUNT               a count means 1 to COUNT
//   grid: {key: [value, ...]}           optional
//   jobs: auto | N                      optional
//   baseline: NAME                      optional: the first variant
//   init_from: PATH                     optional: a run or a checkpoint, with {variant} and {seed} in it
//   allow_other_data: false             optional: whether variants and grid may set data.*
// Throws core::InputError where a file cannot be read or parsed, and core::UsageError that lists all faults
// at once, as load() does (epochs stay as they are: see start::resolve_epochs): those of the sweep file and
// those of every variant's config. Two variants, or two points of the grid, that learn the same
// (material_settings()) are a fault.
Sweep load_sweep(const std::filesystem::path& path);

}  // namespace ssgpt::config
