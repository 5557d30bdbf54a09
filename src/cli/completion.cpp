// ssgpt completion

#include "cli/commands.h"
#include "cli/completion_rows.h"
#include "cli/completion_shells.h"
#include "cli/print.h"
#include "core/text.h"
#include "core/version.h"

#include <memory>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

constexpr auto kCompletionFooter =
    "The script completes commands, options, the choices of an option, files and folders, and after --set "
    "the config keys\n"
    "and their values. It is generated from the definitions of this program: print it again after an "
    "update.\n\n"
    "In the current shell:\n"
    "  source <(ssgpt completion bash)\n"
    "  source <(ssgpt completion zsh)          # after compinit\n"
    "  ssgpt completion fish | source\n"
    "In every new shell:\n"
    "  ssgpt completion bash > ~/.local/share/bash-completion/completions/ssgpt   # with bash-completion; "
    "without it, source the script in ~/.bashrc\n"
    "  ssgpt completion zsh > ~/.zsh/completions/_ssgpt   # a folder in fpath, set before compinit\n"
    "  ssgpt completion fish > ~/.config/fish/completions/ssgpt.fish\n\n"
    "Example:\n"
    "  ssgpt train --set optim<Tab>";

// The rows as shell words in single quotes, one per line. In single quotes fish has escapes; bash and zsh do
// not.
std::string quoted_rows(CLI::App& app, bool fish) {
  std::string text;
  for (const std::string& row : completion_rows(app)) {
    const std::string quoted = fish ? core::replace_all(core::replace_all(row, "\\", "\\\\"), "'", "\\'")
                                    : core::replace_all(row, "'", "'\\''");
    text += fmt::format("  '{}'{}\n", quoted, fish ? " \\" : "");
  }
  return text;
}

std::string script(CLI::App& app, std::string_view shell) {
  const std::string head = fmt::format("Completion of ssgpt {} for {}: `ssgpt completion {}` printed it.\n",
                                       core::version(), shell, shell);
  if (shell == "fish") {
    return fmt::format("# {}set -g __ssgpt_rows \\\n{}\n{}", head, quoted_rows(app, /*fish=*/true),
                       completion_code_fish());
  }
  // zsh's compinit looks for the first line.
  return fmt::format("{}# {}_ssgpt_rows=(\n{})\n\n{}\n{}", shell == "zsh" ? "#compdef ssgpt\n" : "", head,
                     quoted_rows(app, /*fish=*/false), completion_code_common(),
                     shell == "zsh" ? completion_code_zsh() : completion_code_bash());
}

}  // namespace

void add_completion(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "completion", "Print a script that completes the command line of ssgpt in bash, zsh or fish");
  const auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "Shell to print the script for")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(kCompletionFooter);
  command->callback([&app, shell] { print_raw(script(app, *shell)); });
}

}  // namespace ssgpt::cli
