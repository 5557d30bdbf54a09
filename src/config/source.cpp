#include "config/source.h"

#include "config/codecs.h"
#include "config/schema.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>
#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

namespace ssgpt::config {

namespace {

constexpr std::string_view kOverrideOrigin = "--set";
constexpr const char* kIncludeKey = "include";
constexpr int kMaxFiles = 100;  // merged into one config
// Limit for one file, and for all files of a config together: YAML nodes take hundreds of times as much
// memory.
constexpr uint64_t kMaxBytes = uint64_t{4} << 20;

// JSON is YAML with one exception: it escapes a character beyond U+FFFF as a surrogate pair, YAML as one
// escape of eight digits.
std::string json_escapes_as_yaml(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const auto escape = core::unicode_escape(text.substr(i));
    if (escape && escape->code_point > 0xFFFF) {
      result += fmt::format("\\U{:08X}", escape->code_point);
      i += escape->length;
    } else {
      const std::string_view copied = text.substr(i, text[i] == '\\' ? 2 : 1);
      result += copied;
      i += copied.size();
    }
  }
  return result;
}

}  // namespace

Origin origin_of(const std::string& file, const YAML::Node& node) {
  return {file, node.Mark().line + 1};
}

const char* type_name(const YAML::Node& node) {
  return node.IsMap()        ? "a section"
         : node.IsSequence() ? "a list"
         : node.IsScalar()   ? "a single value"
                             : "empty";
}

// Records where a document begins.
class DocumentStart : public YAML::EventHandler {
 public:
  int line = 0;  // from 1

  void OnDocumentStart(const YAML::Mark& mark) override { line = mark.line + 1; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}
};

// YAML::LoadAll never returns where a ',' follows a mapping in braces: it finds one empty document after the
// other.
std::optional<int> line_of_second_document(const std::string& yaml) {
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  DocumentStart start;
  if (!parser.HandleNextDocument(start) || !parser.HandleNextDocument(start)) return std::nullopt;
  return start.line;
}

YAML::Node parse_yaml(std::string_view text, const std::string& file) {
  if (const auto position = core::find_invalid_utf8(text)) {
    const auto line =
        1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(*position), '\n');
    throw core::InputError("{}:{}: not UTF-8 text (byte {}); a config is a YAML or JSON file", file, line,
                           *position);
  }
  if (text.starts_with(core::kByteOrderMark)) text.remove_prefix(core::kByteOrderMark.size());
  const size_t start = text.find_first_not_of(" \t\r\n");
  const bool json =
      start != std::string_view::npos && std::string_view("{[\"").find(text[start]) != std::string_view::npos;
  try {
    const std::string yaml = json ? json_escapes_as_yaml(text) : std::string(text);
    if (const auto line = line_of_second_document(yaml)) {
      throw core::InputError(
          "{}:{}: something follows the end of the config: a second YAML document, or a character too many",
          file, *line);
    }
    return YAML::Load(yaml);
  } catch (const YAML::DeepRecursion& error) {
    throw core::UsageError("{}:{}: nests more than {} deep (column {}), which no config does", file,
                           error.mark.line + 1, error.depth(), error.mark.column + 1);
  } catch (const YAML::Exception& error) {
    throw core::InputError("{}:{}: not valid YAML: {} (column {})", file, error.mark.line + 1, error.msg,
                           error.mark.column + 1);
  }
}

YAML::Node read_yaml(const std::filesystem::path& path) {
  return parse_yaml(core::read_text(path, kMaxBytes), path.string());
}

std::string value_text(const YAML::Node& node) {
  constexpr size_t kLongest = 60;
  std::string text;
  if (node.IsScalar()) {
    text = is_plain_scalar(node) ? node.Scalar() : double_quoted(node.Scalar());
  } else if (node.IsSequence()) {
    for (const YAML::Node& element : node) {
      text += (text.empty() ? "" : ", ") + (element.IsScalar() ? value_text(element) : std::string("..."));
      if (text.size() > kLongest) {
        break;
      }
    }
    text = "[" + text + "]";
  } else {
    text = node.IsMap() ? "{...}" : "null";
  }
  if (text.size() > kLongest) {
    size_t end = kLongest;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {  // not inside a character
      --end;
    }
    text = text.substr(0, end) + "...";
  }
  return text;
}

std::string mapping_text(const YAML::Node& node) {
  constexpr size_t kShown = 3;  // keys that accept a mapping accept a small one
  if (!node.IsMap() || node.size() > kShown) return value_text(node);
  std::string text;
  for (const auto& item : node)
    text +=
        fmt::format("{}{}: {}", text.empty() ? "" : ", ", value_text(item.first), value_text(item.second));
  return fmt::format("{{{}}}", text);
}

void Source::fault(const Origin& origin, std::string text) {
  add_fault(faults_, origin, std::move(text));
}

void Source::add_file(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::path identity = std::filesystem::weakly_canonical(path, ignored);
  if (++num_files_ > kMaxFiles) {
    throw core::UsageError(
        "{}: the config includes more than {} files, each counted as often as it is read: include each once",
        path.string(), kMaxFiles);
  }
  const std::string text = core::read_text(path, kMaxBytes);
  num_bytes_ += text.size();
  if (num_bytes_ > kMaxBytes) {
    throw core::UsageError(
        "{}: the files that the config includes hold more than {} together, each counted as often as it is "
        "read, which no config does",
        path.string(), core::human_bytes(kMaxBytes));
  }
  const YAML::Node root = parse_yaml(text, path.string());
  open_files_.push_back(std::move(identity));
  add_node(root, path.string(), path.parent_path());
  open_files_.pop_back();
}

void Source::add_text(std::string_view text, const std::string& origin,
                      const std::filesystem::path& directory) {
  add_node(parse_yaml(text, origin), origin, directory);
}

void Source::add_node(const YAML::Node& root, const std::string& file,
                      const std::filesystem::path& directory) {
  if (root.IsNull()) {
    return;
  }
  if (!root.IsMap()) {
    fault(origin_of(file, root),
          fmt::format("a config is a mapping of sections, this file holds {}", type_name(root)));
    return;
  }
  add_includes(root, file, directory);
  Lines lines;
  add_mapping("", root, file, lines);
}

void Source::add_includes(const YAML::Node& root, const std::string& file,
                          const std::filesystem::path& directory) {
  const YAML::Node include = root[kIncludeKey];
  if (!include || include.IsNull()) {
    return;
  }
  if (includes_ == Includes::kRefuse) {
    throw core::InputError(
        "{}:{}: include = {}: the config that is stored with a run names no other files: this one was "
        "changed",
        file, origin_of(file, include).line, value_text(include));
  }
  std::vector<YAML::Node> names;
  if (include.IsSequence()) {
    for (const YAML::Node& name : include) {
      names.push_back(name);
    }
  } else {
    names.push_back(include);
  }
  for (const YAML::Node& name : names) {
    const Origin origin = origin_of(file, name);
    if (!name.IsScalar() || name.Scalar().empty()) {
      fault(origin, fmt::format("include = {}: expected a path or a list of paths", value_text(include)));
      continue;
    }
    const std::filesystem::path path = (directory / name.Scalar()).lexically_normal();
    std::error_code ignored;  // the path may not exist
    const std::filesystem::path identity = std::filesystem::weakly_canonical(path, ignored);
    if (std::find(open_files_.begin(), open_files_.end(), identity) != open_files_.end()) {
      fault(origin, fmt::format("include = {}: leads in a circle, {} is what is being read",
                                core::excerpt(name.Scalar()), path.string()));
    } else if (!core::exists(path)) {
      throw core::InputError(
          "{}:{}: include = {}: no such file ({}); it is looked for beside the including file", file,
          origin.line, core::excerpt(name.Scalar()), core::excerpt(path.string()));
    } else {
      add_file(path);
    }
  }
}

void Source::add_mapping(const std::string& section, const YAML::Node& mapping, const std::string& file,
                         Lines& lines) {
  std::map<std::string, int> first_lines;
  for (const auto& item : mapping) {
    if (faults_.has_more()) return;  // the rest could only add more
    const Origin origin = origin_of(file, item.first);
    if (!item.first.IsScalar()) {
      fault(origin,
            fmt::format("the key {} is {}, expected a name", value_text(item.first), type_name(item.first)));
      continue;
    }
    const std::string& word = item.first.Scalar();
    const std::string name = section.empty() ? word : section + "." + word;
    if (const auto [first, is_new] = first_lines.emplace(word, origin.line); !is_new) {
      fault(origin, fmt::format("{} is listed twice in this file (first in line {})", core::excerpt(name),
                                first->second));
    } else if (!section.empty() || word != kIncludeKey) {
      add(name, item.second, origin, lines);
    }
  }
}

void Source::add_value(const std::string& name, const YAML::Node& value, const Origin& key_origin) {
  Lines lines;
  add(name, value, key_origin, lines);
}

void Source::add(const std::string& name, const YAML::Node& value, const Origin& key_origin, Lines& lines) {
  if (const Key* key = find_key(name)) {
    // A key may be given both dotted and nested.
    if (const auto [first, is_new] = lines.emplace(name, key_origin.line); !is_new) {
      fault(key_origin, fmt::format("{} is listed twice in this file (first in line {})", core::excerpt(name),
                                    first->second));
      return;
    }
    // Overrides what an earlier file sets in another unit. Both in one file are a contradiction, which
    // validation reports.
    if (!key->alternative.empty() && !value.IsNull() && !lines.contains(key->alternative)) {
      entries_.erase(key->alternative);
    }
    // An empty value has no position of its own.
    const bool has_line = !value.IsNull() && key_origin.line > 0;
    // Assigning over a node would also change the nodes that alias it.
    entries_.erase(name);
    entries_.emplace(name, Entry{value, has_line ? origin_of(key_origin.file, value) : key_origin});
  } else if (!is_section(name)) {
    faults_.add(
        {key_origin, fmt::format("unknown key {} = {}", core::excerpt(name), value_text(value)), name});
  } else if (value.IsNull()) {  // discards the section of an included file
    std::erase_if(entries_, [&](const auto& entry) { return entry.first.starts_with(name + "."); });
  } else if (!value.IsMap()) {
    fault(key_origin,
          fmt::format("{} = {}: expected a section, this is {}", name, value_text(value), type_name(value)));
  } else {
    add_mapping(name, value, key_origin.file, lines);
  }
}

void Source::add_override(const std::string& text) {
  const size_t equals = text.find('=');
  const std::string name = text.substr(0, equals);
  const Origin origin{std::string(kOverrideOrigin), 0};
  if (equals == std::string::npos || name.empty()) {
    fault(origin, fmt::format("{}: expected key=value, such as optimizer.lr=1e-3", text));
    return;
  }
  if (text.find_first_not_of(" \t\r\n", equals + 1) == std::string::npos) {
    fault(origin,
          fmt::format("{}: the value is empty: is a shell variable not set? For none, write null", text));
    return;
  }
  try {
    add_value(name, parse_yaml(std::string_view(text).substr(equals + 1), std::string(kOverrideOrigin)),
              origin);
  } catch (const core::InputError&) {
    fault(origin,
          fmt::format("{}: the value is not valid YAML; quote text that holds special characters", text));
  }
}

}  // namespace ssgpt::config
