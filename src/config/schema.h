// The table of all keys. Loading, dumping, comparing and describing a config iterate over it, so a key is one
// row here and one member in config.h.
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
  std::vector<std::string> choices;  // values that are words (words_of in codecs.h); empty for most keys
  bool takes_path = false;           // whether the value names files
  bool required = false;
  ResumeRule resume = ResumeRule::kFixed;
  // The key that sets the same thing in another unit; the one set later wins. Empty for most keys.
  std::string alternative = {};

  // Returns false, and sets nothing, where the value is not allowed.
  std::function<bool(const YAML::Node&, Config&)> read;
  std::function<std::string(const Config&)> write;  // YAML in flow style
};

// In the order of the dump: keys of a section are adjacent.
const std::vector<Key>& schema();

// Returns nullptr where there is no such key.
const Key* find_key(std::string_view name);

// All sections: "model", "model.attention", ... Sorted.
const std::vector<std::string>& sections();
bool is_section(std::string_view name);

// What is expected of a key: "expected an integer from 1 to 1000000000 (total number of updates)".
std::string expected(const Key& key);

// Message for a value that the key does not accept: key, value, what is expected, and the nearest choice.
std::string wrong_value(const Key& key, const YAML::Node& value);

// What the user may have meant by `name`, which is neither a key nor a section: "did you mean ...?", or the
// names that exist in its section. May be empty.
std::string hint_for_unknown(std::string_view name);

}  // namespace ssgpt::config
