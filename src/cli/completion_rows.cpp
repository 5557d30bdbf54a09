#include "cli/completion_rows.h"

#include "config/config.h"
#include "core/check.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

constexpr std::string_view kKeys = "=";  // in the place of a command

// The VALUES that the type name of an option stands for; empty if there is nothing to list.
std::string values_of_type(std::string_view type) {
  constexpr std::array kFiles = {"FILE", "FILES", "PATH"};
  constexpr std::array kFolders = {"DIR", "FOLDER", "RUN"};
  constexpr std::array kOthers = {"TEXT", "INT", "UINT", "FLOAT", "N",   "K",     "X",    "P",      "S",
                                  "M",    "W",   "B",    "LINE",  "IDS", "BYTES", "LIST", "VARIANT"};
  const auto is_one_of = [type](const auto& names) {
    return std::find(names.begin(), names.end(), type) != names.end();
  };
  if (is_one_of(kFiles)) return "@files";
  if (is_one_of(kFolders)) return "@folders";
  if (type == "KEY=VALUE") return "@keys";
  const std::string kinds = fmt::format("{}", fmt::join(config::attention_kind_names(), " "));
  if (type == "KIND") return kinds;
  if (type == "KIND,KIND") return "@list " + kinds;
  SSGPT_CHECK(is_one_of(kOthers), "completion: no option takes {}; see values_of_type()", type);
  return "";
}

// "auto|DIR" is the word auto, or a directory.
std::string values_of_alternatives(std::string_view type) {
  std::vector<std::string> values;
  for (size_t begin = 0; begin <= type.size();) {
    const size_t end = std::min(type.find('|', begin), type.size());
    const std::string_view one = type.substr(begin, end - begin);
    const bool is_word = !one.empty() && std::islower(static_cast<unsigned char>(one[0])) != 0;
    values.push_back(is_word ? std::string(one) : values_of_type(one));
    begin = end + 1;
  }
  return fmt::format("{}", fmt::join(values, " "));
}

// CLI11 writes the checks of an option behind its type: "TEXT:{refuse,skip}".
std::string values_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find(":{");
  if (begin == std::string::npos) return values_of_alternatives(type.substr(0, type.find(':')));
  std::string choices = type.substr(begin + 2, type.find('}', begin) - begin - 2);
  std::replace(choices.begin(), choices.end(), ',', ' ');
  return choices;
}

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

// The first phrase of a help text, which may be a paragraph, on one line: up to a full stop or a semicolon
// outside parentheses, but not a semicolon after only a few words, and without the default.
std::string first_phrase(std::string_view text) {
  constexpr size_t kLittle = 20;
  std::string phrase;
  int depth = 0;
  for (size_t i = 0; i < text.size() && !text.substr(i).starts_with(" [default"); ++i) {
    const bool ends_word = i + 1 == text.size() || is_space(text[i + 1]);
    const bool ends = text[i] == '.' || (text[i] == ';' && phrase.size() >= kLittle);
    if (depth == 0 && ends_word && ends) break;
    if (text[i] == '(') ++depth;
    if (text[i] == ')') --depth;
    phrase += is_space(text[i]) ? ' ' : text[i];
  }
  // "Which: a: this" is the beginning of a list of values; a part of the list would be misleading.
  const size_t colon = phrase.find(": ");
  if (colon != std::string::npos && phrase.find(": ", colon + 1) != std::string::npos) phrase.resize(colon);
  return phrase;
}

class Rows {
 public:
  void add_command(CLI::App& command, const std::string& name) {
    for (CLI::App* child : command.get_subcommands({})) {
      add(name, child->get_name(), "command", "", first_phrase(child->get_description()));
    }
    for (const CLI::Option* option : command.get_options()) {
      if (option->get_positional()) {
        const bool several = option->get_items_expected_max() > 1;
        add(name, option->get_single_name(), several ? "arguments" : "argument", values_of(*option),
            first_phrase(option->get_description()));
      } else {
        add_option(*option, name);
      }
    }
    for (CLI::App* child : command.get_subcommands({})) {
      add_command(*child, name.empty() ? child->get_name() : fmt::format("{} {}", name, child->get_name()));
    }
  }

  void add_keys() {
    for (const config::KeyDescription& key : config::key_descriptions()) {
      const std::string values = key.takes_path ? "@files" : fmt::format("{}", fmt::join(key.words, " "));
      add(std::string(kKeys), key.name, "key", values, first_phrase(key.meaning));
    }
  }

  std::vector<std::string> take() { return std::move(rows_); }

 private:
  void add_option(const CLI::Option& option, const std::string& command) {
    const bool flag = option.get_items_expected_max() == 0;
    const std::string kind = flag ? "flag" : option.get_allow_extra_args() ? "options" : "option";
    const std::string values = flag ? "" : values_of(option);
    const std::string text = first_phrase(option.get_description());
    for (const std::string& name : option.get_lnames()) add(command, "--" + name, kind, values, text);
    for (const std::string& name : option.get_snames()) add(command, "-" + name, kind, values, text);
  }

  void add(const std::string& command, const std::string& word, const std::string& kind,
           const std::string& values, const std::string& text) {
    for (const std::string& part : {command, word, kind, values})
      SSGPT_CHECK(part.find('|') == std::string::npos, "completion: '{}' holds a |", part);
    rows_.push_back(fmt::format("{}|{}|{}|{}|{}", command, word, kind, values, text));
  }

  std::vector<std::string> rows_;
};

}  // namespace

std::vector<std::string> completion_rows(CLI::App& app) {
  Rows rows;
  rows.add_command(app, "");
  rows.add_keys();
  return rows.take();
}

}  // namespace ssgpt::cli
