// ssgpt keys

#include "cli/commands.h"
#include "cli/print.h"
#include "config/config.h"

#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {
namespace {

struct KeysArguments {
  bool json = false;
  bool markdown = false;
};

bool may_change(const config::KeyDescription& key) {
  return key.resume == config::ResumeRule::kMayChange;
}

std::string to_json() {
  nlohmann::ordered_json keys = nlohmann::ordered_json::array();
  for (const config::KeyDescription& key : config::key_descriptions()) {
    keys.push_back({{"name", key.name},
                    {"meaning", key.meaning},
                    {"allowed", key.allowed},
                    {"required", !key.default_value},
                    {"default", key.default_value ? nlohmann::ordered_json(*key.default_value) : nullptr},
                    {"resume_may_change", may_change(key)}});
  }
  return keys.dump(2) + "\n";
}

// Escapes a table cell, which a '|' would end.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string to_markdown() {
  std::string text =
      "| key | default | allowed | meaning | a resume may change it |\n|---|---|---|---|---|\n";
  for (const config::KeyDescription& key : config::key_descriptions()) {
    const std::string value =
        key.default_value ? fmt::format("`{}`", cell(*key.default_value)) : "**required**";
    text += fmt::format("| `{}` | {} | {} | {} | {} |\n", key.name, value, cell(key.allowed),
                        cell(key.meaning), may_change(key) ? "yes" : "");
  }
  return text;
}

void print_keys(const KeysArguments& arguments) {
  print_raw(arguments.json ? to_json() : arguments.markdown ? to_markdown() : config::describe_keys());
}

}  // namespace

void add_keys(CLI::App& app) {
  CLI::App* command = app.add_subcommand("keys", "List every config key with its meaning, range and default");
  const auto arguments = std::make_shared<KeysArguments>();
  CLI::Option* json = command->add_flag("--json", arguments->json, "Print a JSON list, for programs");
  command->add_flag("--markdown", arguments->markdown, "Print a Markdown table, as in docs/reference.md")
      ->excludes(json);
  command->footer(
      "A key is set in a config file, as section.key or nested, or by --set section.key=VALUE.\n\n"
      "Examples:\n"
      "  ssgpt keys | grep -A1 optimizer\n"
      "  ssgpt keys --json | jq -r '.[] | select(.required) | .name'");
  command->callback([arguments] { print_keys(*arguments); });
}

}  // namespace ssgpt::cli
