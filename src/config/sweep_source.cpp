#include "config/sweep_source.h"

#include "config/codecs.h"
#include "config/schema.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

namespace ssgpt::config {
namespace {

constexpr int64_t kMaxCount = 10'000;  // limit on seeds and jobs

const std::vector<std::string>& sweep_keys() {
  static const std::vector<std::string> names = {"base", "variants", "seeds",     "grid",
                                                 "jobs", "baseline", "init_from", "allow_other_data"};
  return names;
}

bool is_data_key(std::string_view key) {
  return key.starts_with("data.");
}

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) {
    out_.file = path.string();
    out_.directory = path.parent_path();
  }

  SweepSource read(const YAML::Node& root) {
    read_keys(root);
    read_base();
    read_flags();
    read_variants();
    move_baseline_to_the_front();
    read_grid();
    read_seeds();
    read_init_from();
    return std::move(out_);
  }

 private:
  struct Item {
    YAML::Node value;
    Origin origin;  // of the key
  };

  void fault(const Origin& origin, std::string text) { add_fault(out_.faults, origin, std::move(text)); }
  const Item* find(const std::string& key) const {
    const auto found = items_.find(key);
    return found == items_.end() || found->second.value.IsNull() ? nullptr : &found->second;
  }
  const Item* require(const std::string& key, std::string_view expected) {
    const Item* item = find(key);
    if (item == nullptr) fault({out_.file, 0}, fmt::format("{} is missing: expected {}", key, expected));
    return item;
  }

  void read_keys(const YAML::Node& root);
  void read_base();
  void read_flags();
  void read_variants();
  void take_own_keys(SweepVariant& variant);
  void read_variant(const std::string& name, const YAML::Node& changes, const Origin& origin);
  void move_baseline_to_the_front();
  void read_grid();
  void read_axis(const std::string& key, const YAML::Node& values, const Origin& origin);
  void refuse_axis_of_a_variant(const std::string& key, const Origin& origin);
  void read_seeds();
  std::vector<uint64_t> seeds_in(const YAML::Node& value, const Origin& origin, const std::string& key);
  void read_init_from();
  std::string parent_in(const YAML::Node& value, const Origin& origin, const std::string& key);

  SweepSource out_;
  std::map<std::string, Item> items_;
  bool allow_other_data_ = false;
};

// Calls `take(name, value, origin of the name)` for each key of a mapping; a key that is not a name, or is
// repeated, is a fault.
template <typename Fault, typename Take>
void for_each_key(const YAML::Node& mapping, const std::string& file, Fault fault, Take take) {
  std::map<std::string, int> first_lines;
  for (const auto& item : mapping) {
    const Origin origin = origin_of(file, item.first);
    if (!item.first.IsScalar()) {
      fault(origin,
            fmt::format("the key {} is {}, expected a name", value_text(item.first), type_name(item.first)));
      continue;
    }
    const std::string& name = item.first.Scalar();
    const auto [first, is_new] = first_lines.emplace(name, origin.line);
    if (is_new) {
      take(name, item.second, origin);
    } else {
      fault(origin, fmt::format("{} is listed twice (first in line {})", core::excerpt(name), first->second));
    }
  }
}

void Reader::read_keys(const YAML::Node& root) {
  if (!root.IsMap()) {
    fault(origin_of(out_.file, root),
          fmt::format("a sweep is a mapping of {}; this file {}", fmt::join(sweep_keys(), ", "),
                      root.IsNull() ? "is empty" : fmt::format("holds {}", type_name(root))));
    throw_if_any(out_.faults);
  }
  const auto on_fault = [this](const Origin& origin, std::string text) {
    fault(origin, std::move(text));
  };
  for_each_key(
      root, out_.file, on_fault, [&](const std::string& key, const YAML::Node& value, const Origin& origin) {
        if (std::find(sweep_keys().begin(), sweep_keys().end(), key) != sweep_keys().end()) {
          items_.emplace(key, Item{value, origin});
          return;
        }
        const auto near = core::closest_match(key, sweep_keys());
        const bool of_a_config = find_key(key) != nullptr || is_section(key);
        const std::string hint = of_a_config
                                     ? "a setting of all runs belongs in base, one of some in a variant"
                                 : near ? fmt::format("did you mean {}?", *near)
                                        : fmt::format("a sweep holds {}", fmt::join(sweep_keys(), ", "));
        fault(origin, fmt::format("unknown key {} = {}; {}", core::excerpt(key), value_text(value), hint));
      });
}

void Reader::read_base() {
  const Item* item = require("base", "a config file, or a mapping of its sections");
  if (item == nullptr) return;
  if (item->value.IsMap()) {
    out_.base.add_node(item->value, out_.file, out_.directory);
    out_.base_is_known = true;
    return;
  }
  if (!item->value.IsScalar() || item->value.Scalar().empty()) {
    fault(item->origin, fmt::format("base = {}: expected a config file, or a mapping of its sections",
                                    value_text(item->value)));
    return;
  }
  const std::filesystem::path path = (out_.directory / item->value.Scalar()).lexically_normal();
  if (!core::exists(path)) {
    throw core::InputError("{}:{}: base = {}: no such file ({}); it is looked for beside the sweep file",
                           out_.file, item->origin.line, item->value.Scalar(), path.string());
  }
  out_.base.add_file(path);
  out_.base_is_known = !out_.base.entries().empty() || out_.base.faults().empty();
}

void Reader::read_flags() {
  if (const Item* item = find("allow_other_data")) {
    const Boolean codec;
    const auto value = codec.read(item->value);
    if (!value) {
      fault(item->origin,
            fmt::format("allow_other_data = {}: expected {}", value_text(item->value), codec.allowed()));
    }
    // Where the flag is invalid, report no faults that it might have allowed.
    allow_other_data_ = value.value_or(true);
  }
  if (const Item* item = find("jobs")) {
    const Optional<Integer<int64_t>> codec{{1, kMaxCount}, "auto"};
    const auto value = codec.read(item->value);
    if (value) {
      out_.jobs = *value;
    } else {
      fault(item->origin, fmt::format("jobs = {}: expected {}", value_text(item->value), codec.allowed()));
    }
  }
}

void Reader::read_variants() {
  constexpr std::string_view kExpected = "a mapping of names, each with the config keys that it sets";
  const Item* item = require("variants", kExpected);
  if (item == nullptr) return;
  if (!item->value.IsMap() || item->value.size() == 0) {
    fault(item->origin, fmt::format("variants = {}: expected {}, one at least",
                                    item->value.IsMap() ? "{}" : value_text(item->value), kExpected));
    return;
  }
  const auto on_fault = [this](const Origin& origin, const std::string& text) {
    fault(origin, fmt::format("variants: {}", text));
  };
  for_each_key(item->value, out_.file, on_fault,
               [this](const std::string& name, const YAML::Node& changes, const Origin& origin) {
                 read_variant(name, changes, origin);
               });
}

void Reader::move_baseline_to_the_front() {
  const Item* baseline = find("baseline");
  if (baseline == nullptr || out_.variants.empty()) return;
  const std::string wanted = baseline->value.IsScalar() ? baseline->value.Scalar() : "";
  const auto found = std::find_if(out_.variants.begin(), out_.variants.end(),
                                  [&](const SweepVariant& v) { return v.name == wanted; });
  if (found != out_.variants.end()) {
    // Rebuilt, since assigning over a node would also change the nodes that alias it.
    std::vector<SweepVariant> ordered = {*found};
    for (const SweepVariant& variant : out_.variants) {
      if (variant.name != wanted) ordered.push_back(variant);
    }
    out_.variants.swap(ordered);
    return;
  }
  std::vector<std::string> names;
  for (const SweepVariant& variant : out_.variants) names.push_back(variant.name);
  fault(baseline->origin, fmt::format("baseline = {}: no such variant; there are {}",
                                      value_text(baseline->value), fmt::join(names, ", ")));
}

// Removes from the variant's changes the keys that concern the sweep rather than the config.
void Reader::take_own_keys(SweepVariant& variant) {
  const std::string where = fmt::format("variants.{}: ", variant.name);
  if (const YAML::Node seeds = variant.changes["seeds"]) {
    variant.seeds = seeds_in(seeds, origin_of(out_.file, seeds), where + "seeds");
    variant.changes.remove("seeds");
  }
  if (const YAML::Node parent = variant.changes["init_from"]) {
    variant.init_from = parent_in(parent, origin_of(out_.file, parent), where + "init_from");
    variant.changes.remove("init_from");
  }
}

void Reader::read_variant(const std::string& name, const YAML::Node& changes, const Origin& origin) {
  SweepVariant variant{.name = name, .changes = changes, .origin = origin, .keys = {}};
  if (changes.IsMap()) take_own_keys(variant);
  if (!changes.IsNull() && !changes.IsMap()) {
    fault(origin,
          fmt::format("variants.{} = {}: expected a mapping of config keys, {{}} for the base as it is", name,
                      value_text(changes)));
    return;
  }
  Source own;
  own.add_node(changes, out_.file, out_.directory);
  for (const auto& [key, entry] : own.entries()) {
    variant.keys.insert(key);
    if (key == "run.seed" || key == "run.name") {
      fault(entry.origin,
            fmt::format("variants.{}: {} is what the sweep itself sets; leave it out", name, key));
    } else if (is_data_key(key) && !allow_other_data_) {
      fault(entry.origin,
            fmt::format("variants.{}: {} = {}: runs on other data cannot be paired; set it in base, or "
                        "allow_other_data: true where that is what the sweep is about",
                        name, key, value_text(entry.value)));
    }
  }
  out_.variants.push_back(std::move(variant));
}

void Reader::read_grid() {
  const Item* item = find("grid");
  if (item != nullptr && !item->value.IsMap()) {
    fault(item->origin,
          fmt::format("grid = {}: expected a mapping of config keys, each with the list of its values",
                      value_text(item->value)));
  } else if (item != nullptr) {
    const auto on_fault = [this](const Origin& origin, std::string text) {
      fault(origin, fmt::format("grid: {}", text));
    };
    for_each_key(item->value, out_.file, on_fault,
                 [this](const std::string& key, const YAML::Node& values, const Origin& origin) {
                   read_axis(key, values, origin);
                 });
  }
}

void Reader::read_axis(const std::string& key, const YAML::Node& values, const Origin& origin) {
  if (find_key(key) == nullptr) {
    const std::string text = fmt::format("grid: unknown key {}", core::excerpt(key));
    if (is_section(key)) {
      fault(origin, fmt::format("{}; name a key of that section, dotted: optimizer.lr", text));
    } else {
      out_.faults.add({origin, text, key});
    }
    return;
  }
  if (key == "run.seed" || key == "run.name") {
    fault(origin, fmt::format("grid: {} is what the sweep itself sets; leave it out", key));
    return;
  }
  if (is_data_key(key) && !allow_other_data_) {
    fault(
        origin,
        fmt::format("grid: {}: runs on other data cannot be paired; allow_other_data: true permits it", key));
    return;
  }
  refuse_axis_of_a_variant(key, origin);
  SweepAxis axis{.key = key, .origin = origin, .values = {}};
  const bool sound =
      values.IsSequence() && values.size() > 0 &&
      std::all_of(values.begin(), values.end(), [](const YAML::Node& v) { return v.IsScalar(); });
  if (!sound) {
    fault(origin, fmt::format("grid: {} = {}: expected a list of single values, one at least; a list or a "
                              "mapping is set in variants",
                              key, value_text(values)));
    return;
  }
  for (const YAML::Node& value : values) axis.values.emplace_back(value, origin_of(out_.file, value));
  out_.grid.push_back(std::move(axis));
}

void Reader::refuse_axis_of_a_variant(const std::string& key, const Origin& origin) {
  for (const SweepVariant& variant : out_.variants) {
    if (!variant.keys.contains(key)) continue;
    fault(origin, fmt::format("grid: {} is set by the variant {} too; one of them must leave it out", key,
                              variant.name));
  }
}

constexpr Integer<int64_t> kSeedCount{1, kMaxCount};

std::string expected_seeds() {
  return fmt::format("a list of seeds, each once and one at least, or their number, {}",
                     kSeedCount.allowed());
}

void Reader::read_seeds() {
  const Item* item = require("seeds", expected_seeds());
  if (item != nullptr) out_.seeds = seeds_in(item->value, item->origin, "seeds");
}

std::vector<uint64_t> Reader::seeds_in(const YAML::Node& value, const Origin& origin,
                                       const std::string& key) {
  const Integer<uint64_t> seed{0, std::numeric_limits<uint64_t>::max()};
  std::vector<uint64_t> seeds;
  if (const auto number = kSeedCount.read(value)) {
    for (int64_t i = 1; i <= *number; ++i) seeds.push_back(static_cast<uint64_t>(i));
    return seeds;
  }
  if (!value.IsSequence() || value.size() == 0) {
    fault(origin, fmt::format("{} = {}: expected {}", key, value_text(value), expected_seeds()));
    return seeds;
  }
  for (const YAML::Node& node : value) {
    const auto one = seed.read(node);
    if (!one) {
      fault(origin_of(out_.file, node),
            fmt::format("{}: {}: expected {}", key, value_text(node), seed.allowed()));
    } else if (std::find(seeds.begin(), seeds.end(), *one) != seeds.end()) {
      fault(origin_of(out_.file, node),
            fmt::format("{}: {} is listed twice; its runs would be the same", key, *one));
    } else {
      seeds.push_back(*one);
    }
  }
  return seeds;
}

void Reader::read_init_from() {
  const Item* item = find("init_from");
  if (item != nullptr) out_.init_from = parent_in(item->value, item->origin, "init_from");
}

std::string Reader::parent_in(const YAML::Node& value, const Origin& origin, const std::string& key) {
  const std::string path = value.IsScalar() ? value.Scalar() : "";
  std::string rest = path;  // without the placeholders
  for (const std::string_view placeholder : kPlaceholders) rest = core::replace_all(rest, placeholder, "-");
  if (!path.empty() && rest.find_first_of("{}") == std::string::npos) return path;
  fault(origin, fmt::format("{} = {}: expected a run or a checkpoint, in whose path {} may stand", key,
                            value_text(value), fmt::join(kPlaceholders, " and ")));
  return "";
}

}  // namespace

SweepSource read_sweep_source(const std::filesystem::path& path) {
  return Reader(path).read(read_yaml(path));
}

}  // namespace ssgpt::config
