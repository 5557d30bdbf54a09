// From files and overrides to one value for each key, each with the place it came from.
#pragma once

#include "config/faults.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <yaml-cpp/node/node.h>

namespace ssgpt::config {

struct Entry {
  YAML::Node value;
  Origin origin;
};

// By the name of the key. Only keys of the schema; what a key holds has not been looked at.
using Entries = std::map<std::string, Entry, std::less<>>;

// Whether a config may name other files that it is merged over.
enum class Includes {
  kMerge,
  kRefuse,  // in the stored config of a run, which has none
};

// Reads YAML files and overrides one over the other: what comes later wins, key by key, and over what an
// earlier one says in another unit (Key::alternative).
class Source {
 public:
  explicit Source(Includes includes = Includes::kMerge) : includes_(includes) {}

  // With the files that it includes, which it wins over. Throws core::InputError where a file cannot be read
  // or parsed, and core::UsageError where more files are included, or more bytes, than any config has.
  void add_file(const std::filesystem::path& path);

  // `origin` stands for the name of the file; includes are relative to `directory`.
  void add_text(std::string_view text, const std::string& origin, const std::filesystem::path& directory);

  // The same from a mapping that was parsed already; `file` is where it stands.
  void add_node(const YAML::Node& root, const std::string& file, const std::filesystem::path& directory);

  // One key, or a section as a mapping. `key_origin`: where its name stands.
  void add_value(const std::string& name, const YAML::Node& value, const Origin& key_origin);

  // "optimizer.lr=1e-3": the value is YAML.
  void add_override(const std::string& text);

  const Entries& entries() const { return entries_; }
  const Faults& faults() const {
    return faults_;
  }  // unknown and duplicate keys, includes that lead in a circle

 private:
  void add_includes(const YAML::Node& root, const std::string& file, const std::filesystem::path& directory);
  // The lines of the keys that stand in one file, or are overridden at one time.
  using Lines = std::map<std::string, int>;
  void add_mapping(const std::string& section, const YAML::Node& mapping, const std::string& file,
                   Lines& lines);
  void add(const std::string& name, const YAML::Node& value, const Origin& key_origin, Lines& lines);
  void fault(const Origin& origin, std::string text);

  Includes includes_;
  Entries entries_;
  Faults faults_;
  int num_files_ = 0;                              // read up to now
  uint64_t num_bytes_ = 0;                         // of these
  std::vector<std::filesystem::path> open_files_;  // those being read, from the outermost
};

// The one document in `text`, which `file` stands for in messages; null where there is none. Throws
// core::InputError for what is not UTF-8 or not YAML, and for a second document, and core::UsageError where
// it nests deeper than any config. A byte order mark is passed over.
YAML::Node parse_yaml(std::string_view text, const std::string& file);

// The same from a file; none larger than any config is read.
YAML::Node read_yaml(const std::filesystem::path& path);

// Where a node stands.
Origin origin_of(const std::string& file, const YAML::Node& node);

// "a section", "a list", "a single value" or "empty", for messages.
const char* type_name(const YAML::Node& node);

// A value on one line, cut where it is long, for messages.
std::string value_text(const YAML::Node& node);
// The same, of a small mapping with what it holds.
std::string mapping_text(const YAML::Node& node);

}  // namespace ssgpt::config
