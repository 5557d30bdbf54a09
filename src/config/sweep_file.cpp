#include "config/sweep_file.h"

#include "config/codecs.h"
#include "config/faults.h"
#include "config/material.h"
#include "config/resolve.h"
#include "config/sweep_source.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

namespace ssgpt::config {
namespace {

constexpr size_t kMaxRuns = 100'000;

std::string last_part(const std::string& key) {
  return key.substr(key.rfind('.') + 1);  // npos + 1 = 0
}

// A point of the grid: one value for each key.
struct Point {
  std::string name;
  std::vector<size_t> values;  // indices of values, one per axis
};

// The path with each of kPlaceholders replaced by its value.
std::string filled(std::string path, const std::array<std::string, kPlaceholders.size()>& values) {
  for (size_t i = 0; i < values.size(); ++i) path = core::replace_all(path, kPlaceholders[i], values[i]);
  return path;
}

// Explains how two configs that learn the same differ.
std::string describe_differences(const Config& first, const Config& second) {
  std::vector<std::string> keys;
  for (const Difference& difference : differences(first, second)) {
    if (difference.key != "run.name") keys.push_back(difference.key);
  }
  if (keys.empty()) return "no setting differs";
  return fmt::format("what differs ({}) changes nothing that is learnt", fmt::join(keys, ", "));
}

class Expansion {
 public:
  explicit Expansion(SweepSource source) : source_(std::move(source)) {}

  Sweep expand() {
    if (has_sane_size()) {
      make_points();
      check_names();
      if (source_.base_is_known) resolve_all();
      if (source_.faults.empty()) check_different();
    }
    if (!source_.base_is_known) {  // otherwise resolve_all() adds them
      source_.faults.add(source_.base.faults());
    }
    throw_if_any(source_.faults);
    make_runs();
    return std::move(sweep_);
  }

 private:
  void fault(const Origin& origin, std::string text) { add_fault(source_.faults, origin, std::move(text)); }
  bool has_sane_size();
  void make_points();
  void check_names();
  void resolve_all();
  Config resolve_one(const SweepVariant& variant, const Point& point);
  void check_different();
  const std::vector<uint64_t>& seeds_of(const SweepVariant& variant) const {
    return variant.seeds ? *variant.seeds : source_.seeds;
  }
  std::string parent_of(const SweepVariant& variant) const {
    return variant.init_from.value_or(source_.init_from);
  }
  std::vector<uint64_t> all_seeds() const;
  void make_runs();
  static std::string name_of(const SweepVariant& variant, const Point& point) {
    return point.name.empty() ? variant.name : fmt::format("{}-{}", variant.name, point.name);
  }

  SweepSource source_;
  std::vector<Point> points_;
  std::vector<std::vector<Config>> configs_;  // by variant and point
  Sweep sweep_;
};

bool Expansion::has_sane_size() {
  size_t seeds = source_.seeds.size();
  for (const SweepVariant& variant : source_.variants) {
    if (variant.seeds) seeds = std::max(seeds, variant.seeds->size());
  }
  size_t runs = std::max<size_t>(1, source_.variants.size()) * std::max<size_t>(1, seeds);
  for (const SweepAxis& axis : source_.grid) runs *= runs > kMaxRuns ? 1 : axis.values.size();
  if (runs > kMaxRuns) {
    fault({source_.file, 0}, fmt::format("variants, grid and seeds make more than {} runs", kMaxRuns));
  }
  return runs <= kMaxRuns;
}

void Expansion::make_points() {
  points_ = {Point{}};
  for (const SweepAxis& axis : source_.grid) {
    std::vector<Point> longer;
    for (const Point& point : points_) {
      for (size_t i = 0; i < axis.values.size(); ++i) {
        Point next = point;
        next.values.push_back(i);
        next.name += fmt::format("{}{}{}", next.name.empty() ? "" : "-", last_part(axis.key),
                                 axis.values[i].first.Scalar());
        longer.push_back(std::move(next));
      }
    }
    points_ = std::move(longer);
  }
}

// A run's name is also its folder's.
void Expansion::check_names() {
  const Name codec;
  std::set<std::string> names;
  for (const SweepVariant& variant : source_.variants) {
    for (const Point& point : points_) {
      const std::string name = name_of(variant, point);
      if (!codec.read(YAML::Node(name))) {
        fault(variant.origin, fmt::format("variants.{}: the run's name \"{}\" must be {}", variant.name, name,
                                          codec.allowed()));
      } else if (!names.insert(name).second) {
        fault(variant.origin, fmt::format("variants.{}: two runs would be called {}", variant.name, name));
      }
    }
  }
}

void Expansion::resolve_all() {
  for (const SweepVariant& variant : source_.variants) {
    configs_.emplace_back();
    for (const Point& point : points_) configs_.back().push_back(resolve_one(variant, point));
  }
}

Config Expansion::resolve_one(const SweepVariant& variant, const Point& point) {
  Source source = source_.base;
  source.add_node(variant.changes, source_.file, source_.directory);
  for (size_t i = 0; i < source_.grid.size(); ++i) {
    const auto& [value, origin] = source_.grid[i].values[point.values[i]];
    source.add_value(source_.grid[i].key, value, origin);
  }
  Config config = resolve(source, source_.file, source_.faults);
  config.run.name = name_of(variant, point);
  return config;
}

// Runs that learn the same would count twice in comparisons.
void Expansion::check_different() {
  // Material settings of each variant at each point.
  std::vector<std::vector<std::string>> settings;
  for (size_t v = 0; v < configs_.size(); ++v) {
    settings.emplace_back();
    const SweepVariant& variant = source_.variants[v];
    // Variants with different initial weights differ, whatever they set.
    const std::string parent = filled(parent_of(variant), {variant.name, "{seed}"});
    for (const Config& config : configs_[v]) settings.back().push_back(material_settings(config) + parent);
  }
  std::map<std::vector<std::string>, size_t> variants;
  for (size_t v = 0; v < settings.size(); ++v) {
    const auto [same, is_new] = variants.emplace(settings[v], v);
    if (is_new) continue;
    fault(source_.variants[v].origin,
          fmt::format("variants.{} equals variants.{}: {}", source_.variants[v].name,
                      source_.variants[same->second].name,
                      describe_differences(configs_[same->second].front(), configs_[v].front())));
  }
  std::map<std::vector<std::string>, size_t> points;
  for (size_t p = 0; p < points_.size(); ++p) {
    std::vector<std::string> of_point;
    for (const std::vector<std::string>& of_variant : settings) of_point.push_back(of_variant[p]);
    const auto [same, is_new] = points.emplace(std::move(of_point), p);
    if (is_new) continue;
    fault(source_.grid.front().origin,
          fmt::format("grid: {} equals {}: {}", points_[p].name, points_[same->second].name,
                      describe_differences(configs_.front()[same->second], configs_.front()[p])));
  }
}

// Seeds of all variants, in order of first occurrence.
std::vector<uint64_t> Expansion::all_seeds() const {
  std::vector<uint64_t> seeds = source_.seeds;
  for (const SweepVariant& variant : source_.variants) {
    for (const uint64_t seed : seeds_of(variant)) {
      if (std::find(seeds.begin(), seeds.end(), seed) == seeds.end()) seeds.push_back(seed);
    }
  }
  return seeds;
}

void Expansion::make_runs() {
  sweep_.jobs = source_.jobs;
  for (const SweepVariant& variant : source_.variants) sweep_.variants.push_back(variant.name);
  for (const Point& point : points_) sweep_.points.push_back(point.name);
  for (const uint64_t seed : all_seeds()) {
    for (size_t p = 0; p < points_.size(); ++p) {
      for (size_t v = 0; v < source_.variants.size(); ++v) {
        const std::vector<uint64_t>& of_variant = seeds_of(source_.variants[v]);
        if (std::find(of_variant.begin(), of_variant.end(), seed) == of_variant.end()) continue;
        SweepRun run;
        run.config = configs_[v][p];
        run.config.run.seed = seed;
        run.name = fmt::format("{}-seed{}", run.config.run.name, seed);
        run.variant = source_.variants[v].name;
        run.point = points_[p].name;
        for (size_t i = 0; i < source_.grid.size(); ++i) {
          run.grid.emplace_back(source_.grid[i].key,
                                source_.grid[i].values[points_[p].values[i]].first.Scalar());
        }
        run.seed = seed;
        run.init_from = filled(parent_of(source_.variants[v]), {run.variant, std::to_string(seed)});
        sweep_.runs.push_back(std::move(run));
      }
    }
  }
}

}  // namespace

Sweep load_sweep(const std::filesystem::path& path) {
  return Expansion(read_sweep_source(path)).expand();
}

}  // namespace ssgpt::config
