#include "cli/command_line.h"

#include "core/error.h"
#include "core/text.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

// "ssgpt evaluate loss"
std::string full_name(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr ? command.get_name()
                           : fmt::format("{} {}", full_name(*parent), command.get_name());
}

bool is_flag(const CLI::Option& option) {
  return option.get_items_expected_max() == 0;
}

// "-1" and "-.5" are numbers, "-" by itself is a name.
bool looks_like_option(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && word[1] != '.' &&
         std::isdigit(static_cast<unsigned char>(word[1])) == 0;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back(fmt::format("--{}", name));
  }
  return names;
}

std::vector<std::string> command_names(CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* subcommand : command.get_subcommands({})) names.push_back(subcommand->get_name());
  return names;
}

// ": did you mean ...?", or `otherwise`.
std::string suggestion(std::string word, const std::vector<std::string>& candidates,
                       const std::string& otherwise) {
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::optional<std::string> near = core::closest_match(word, candidates);
  return near ? fmt::format(": did you mean {}?", *near) : otherwise;
}

// Whether an empty text is a valid value of this option, rather than an unset shell variable.
bool may_be_empty(const CLI::App& command, const CLI::Option& option) {
  return (command.get_name() == "generate" && option.get_name() == "--prompt") ||
         (command.get_name() == "encode" && option.get_name() == "text");
}

// Reads the words of a command line from left to right into the results of CLI11's options.
class Reader {
 public:
  Reader(CLI::App& app, std::vector<std::string> words) : path_{&app}, words_(std::move(words)) {}

  void read() {
    bool options_end = false;
    while (next_ < words_.size()) {
      const std::string word = words_[next_++];
      if (!options_end && word == "--") {
        options_end = true;
      } else if (!options_end && looks_like_option(word)) {
        read_option(word);
      } else if (!command().get_subcommands({}).empty()) {
        read_command(word);
      } else {
        read_argument(word);
      }
    }
  }

  // The command and its parents, the outermost first.
  const std::vector<CLI::App*>& path() const { return path_; }
  CLI::App& command() const { return *path_.back(); }
  // The first fault of the command line; empty: none.
  const std::string& fault() const { return fault_; }

 private:
  template <typename... Args>
  void set_fault(fmt::format_string<Args...> format, Args&&... args) {
    if (fault_.empty()) fault_ = fmt::format(format, std::forward<Args>(args)...);
  }

  CLI::Option* find_option(const std::string& word) const {
    return command().get_option_no_throw(word.substr(0, word.find('=')));
  }

  bool has_arguments() const {
    const auto options = command().get_options();
    return std::any_of(options.begin(), options.end(), [](const auto* one) { return one->get_positional(); });
  }

  void read_command(const std::string& word) {
    for (CLI::App* subcommand : command().get_subcommands({})) {
      if (subcommand->get_name() != word) continue;
      path_.push_back(subcommand);
      return;
    }
    const std::vector<std::string> names = command_names(command());
    set_fault("unknown command '{}'{}", word,
              suggestion(word, names, fmt::format("; there are {}.", fmt::join(names, ", "))));
    next_ = words_.size();  // it is unknown which command the rest belongs to
  }

  void read_argument(const std::string& word) {
    for (CLI::Option* argument : command().get_options()) {
      if (!argument->get_positional() || is_full(*argument)) continue;
      add_value(*argument, word);
      return;
    }
    if (has_arguments()) {
      set_fault("unexpected argument '{}': a text of several words needs quotes; see `{} --help`.", word,
                full_name(command()));
    } else {
      set_fault("unexpected argument '{0}': `{1}` takes only options; see `{1} --help`.", word,
                full_name(command()));
    }
  }

  void read_option(const std::string& word) {
    CLI::Option* option = find_option(word);
    const size_t equals = word.find('=');
    if (option == nullptr) {
      refuse_unknown(word);
    } else if (is_flag(*option)) {
      read_flag(*option, equals == std::string::npos ? "true" : word.substr(equals + 1));
    } else {
      read_values(*option,
                  equals == std::string::npos ? std::nullopt : std::optional(word.substr(equals + 1)));
    }
  }

  void refuse_unknown(const std::string& word) {
    std::string hint = fmt::format("; see `{} --help`.", full_name(command()));
    if (has_arguments()) {
      hint = fmt::format("; write -- before a text that begins with '-', and see `{} --help`.",
                         full_name(command()));
    } else if (!command().get_subcommands({}).empty()) {
      hint = "; a command's options follow its name.";
    }
    const std::string name = word.substr(0, word.find('='));
    set_fault("unknown option {}{}", name, suggestion(name, option_names(command()), hint));
  }

  void read_flag(CLI::Option& flag, const std::string& value) {
    if (value != "true" && value != "false") set_fault("{} takes no value.", flag.get_name());
    flag.add_result(value);
  }

  // `first` is the value after '=', if any.
  void read_values(CLI::Option& option, const std::optional<std::string>& first) {
    const bool several = option.get_allow_extra_args();
    if (first) {
      add_value(option, *first);
    } else if (next_ == words_.size()) {
      set_fault("{} needs a value; see `{} --help`.", option.get_name(), full_name(command()));
    } else if (const std::string& word = words_[next_]; several && word == "--") {
      // The values follow it.
    } else if (looks_like_option(word) && find_option(word) != nullptr) {
      set_fault("{0} needs a value, and {1} is an option: write {0}={1} if that is the value.",
                option.get_name(), word);
    } else {
      add_value(option, word);
      ++next_;
    }
    if (several) read_further_values(option);
  }

  void read_further_values(CLI::Option& option) {
    bool all = false;
    for (; next_ < words_.size(); ++next_) {
      const std::string& word = words_[next_];
      if (!all && word == "--") {
        if (has_arguments()) return;
        all = true;
      } else if (!all && looks_like_option(word)) {
        return;
      } else {
        add_value(option, word);
      }
    }
  }

  static bool is_full(const CLI::Option& option) {
    return option.count() >= static_cast<size_t>(option.get_items_expected_max());
  }

  void add_value(CLI::Option& option, const std::string& value) {
    if (is_full(option)) {
      set_fault("{} is given more than once, and takes one value.", option.get_name());
      return;
    }
    if (value.empty() && !may_be_empty(command(), option)) {
      set_fault("{} was given an empty value: is a shell variable not set?", option.get_name());
      return;
    }
    // CLI11 reads [a,b] as two values for an option that takes several.
    const bool several = option.get_allow_extra_args();
    option.allow_extra_args(false);
    option.add_result(value);
    option.allow_extra_args(several);
  }

  std::vector<CLI::App*> path_;
  std::vector<std::string> words_;
  size_t next_ = 0;
  std::string fault_;
};

bool is_given(const CLI::Option* option) {
  return option != nullptr && option->count() > 0;
}

// A request for help takes precedence over any fault.
bool asks_for_help(const Reader& reader) {
  const std::vector<CLI::App*>& path = reader.path();
  return std::any_of(path.begin(), path.end(),
                     [](const CLI::App* app) { return is_given(app->get_help_ptr()); });
}

void clear_all_but_help(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    if (option != command.get_help_ptr()) option->clear();
  }
}

}  // namespace

void run_command_line(CLI::App& app, int argc, const char* const* argv) {
  Reader reader(app, {argv + 1, argv + argc});
  reader.read();
  CLI::App& command = reader.command();
  if (asks_for_help(reader)) {
    clear_all_but_help(command);
  } else if (!reader.fault().empty()) {
    throw core::UsageError("{}", reader.fault());
  } else if (!command.get_subcommands({}).empty() && !is_given(command.get_version_ptr())) {
    throw core::UsageError("`{0}` needs a command: {1}; see `{0} --help`.", full_name(command),
                           fmt::join(command_names(command), ", "));
  }
  std::vector<std::string> names;  // CLI11 takes them from the back
  for (size_t i = reader.path().size(); i-- > 1;) names.push_back(reader.path()[i]->get_name());
  try {
    app.parse(std::move(names));
  } catch (const CLI::Success&) {
    throw;
  } catch (const CLI::ParseError& error) {
    std::string_view text = error.what();
    if (text.ends_with('.')) text.remove_suffix(1);
    throw core::UsageError("{}; see `{} --help`.", text, full_name(command));
  }
}

}  // namespace ssgpt::cli
