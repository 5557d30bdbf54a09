// Merges files and overrides into one value per key, each with its origin.
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

// Entries by key name. All keys are those of the schema; their values are not checked yet.
using Entries = std::map<std::string, Entry, std::less<>>;

// Whether a config may include other files, which it is merged over.
enum class Includes {
  kMerge,
  kRefuse,  // for the stored config of a run, which has none
};

// Merges YAML files and overrides: later ones win, key by key, including over an earlier value in another
// unit (Key::alternative).
class Source {
 public:
  explicit Source(Includes includes = Includes::kMerge) : includes_(includes) {}

  // Adds a file after the files that it includes. Throws core::InputError where a file cannot be read or
  // parsed, and core::UsageError where the included files exceed the limits on number and bytes.
  void add_file(const std::filesystem::path& path);

  // Adds YAML text; messages use `origin` as the file name, and includes are relative to `directory`.
  void add_text(std::string_view text, const std::string& origin, const std::filesystem::path& directory);

  // The same from parsed YAML, found in `file`.
  void add_node(const YAML::Node& root, const std::string& file, const std::filesystem::path& directory);

  // Adds one key, or a section as a mapping. `key_origin` is where its name was found.
  void add_value(const std::string& name, const YAML::Node& value, const Origin& key_origin);

  // Adds an override, "optimizer.lr=1e-3", whose value is YAML.
  void add_override(const std::string& text);

  const Entries& entries() const { return entries_; }
  // Unknown and duplicate keys, and circular includes.
  const Faults& faults() const { return faults_; }

 private:
  void add_includes(const YAML::Node& root, const std::string& file, const std::filesystem::path& directory);
  // Lines of the keys given in one file or override, by name.
  using Lines = std::map<std::string, int>;
  void add_mapping(const std::string& section, const YAML::Node& mapping, const std::string& file,
                   Lines& lines);
  void add(const std::string& name, const YAML::Node& value, const Origin& key_origin, Lines& lines);
  void fault(const Origin& origin, std::string text);

  Includes includes_;
  Entries entries_;
  Faults faults_;
  int num_files_ = 0;                              // read so far
  uint64_t num_bytes_ = 0;                         // of these files
  std::vector<std::filesystem::path> open_files_;  // being read, the outermost first
};

// Parses the only document in `text`; null where it is empty. Messages use `file` as the file name. Throws
// core::InputError for text that is not UTF-8 or not YAML, or has a second document, and core::UsageError
// where it nests too deep. Skips a byte order mark.
YAML::Node parse_yaml(std::string_view text, const std::string& file);

// The same from a file. Throws core::InputError also where it is larger than any config.
YAML::Node read_yaml(const std::filesystem::path& path);

// Origin of a node in `file`.
Origin origin_of(const std::string& file, const YAML::Node& node);

// "a section", "a list", "a single value" or "empty", for messages.
const char* type_name(const YAML::Node& node);

// The value on one line, cut if long, for messages.
std::string value_text(const YAML::Node& node);
// The same, but a small mapping is shown with its contents.
std::string mapping_text(const YAML::Node& node);

}  // namespace ssgpt::config
