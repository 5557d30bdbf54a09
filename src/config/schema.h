// The table of all keys. Loading, dumping, comparing and describing a config go over it, so a key is one row
// here and one member in config.h.
#pragma once

#include "config/config.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/node/node.h>

namespace ssgpt::config {

struct Key {
  std::string name;                  // "optimizer.schedule.kind": the path of the member in Config
  std::string allowed;               // type and range in words
  std::string meaning;               // with its unit
  std::vector<std::string> choices;  // the names of an enumeration; empty for other types
  bool required = false;
  ResumeRule resume = ResumeRule::kFixed;
  // The key that says the same in another unit, and that gives way to this one where this one is set later;
  // empty for most.
  std::string alternative = {};

  std::function<bool(const YAML::Node&, Config&)>
      read;                                         // false, and nothing set, where the value is not allowed
  std::function<std::string(const Config&)> write;  // YAML in flow style
};

// In the order of the dump: keys of a section stand together.
const std::vector<Key>& schema();

// Null where there is no such key.
const Key* find_key(std::string_view name);

// "model", "model.attention", ...: everything that holds keys.
const std::vector<std::string>& sections();
bool is_section(std::string_view name);

// "expected an integer of at least 1 (updates in all)", of a key that is missing.
std::string expected(const Key& key);

// The key with a value that it does not take, and what is expected.
std::string wrong_value(const Key& key, const YAML::Node& value);

// What the user may have meant by `name`, which is neither key nor section: ", did you mean ...?", or the
// names that exist beside it.
std::string hint_for_unknown(std::string_view name);

}  // namespace ssgpt::config
