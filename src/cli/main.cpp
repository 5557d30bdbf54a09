// The program: parses the command line, runs the command, turns every exception into one message and an exit
// code.

#include "cli/commands.h"
#include "cli/version_text.h"
#include "core/error.h"
#include "core/log.h"
#include "core/process.h"
#include "parallel/error_text.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

namespace {

using ssgpt::core::ExitCode;

// As typed, with blanks quoted.
std::string command_line(int argc, char** argv) {
  std::string text;
  for (int i = 0; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool quote = argument.empty() || argument.find_first_of(" \t*?[]'\"$&;|<>") != std::string::npos;
    if (i > 0) text += ' ';
    text += quote ? fmt::format("'{}'", argument) : argument;
  }
  return text;
}

// Whether an empty text is a value of this option, and no shell variable that was not set.
bool may_be_empty(const CLI::App& command, const CLI::Option& option) {
  return (command.get_name() == "generate" && option.get_name() == "--prompt") ||
         (command.get_name() == "encode" && option.get_name() == "text");
}

// Throws core::UsageError for an option, of the command that was called, to which an empty value was given.
void refuse_empty_values(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::vector<std::string>& values = option->results();
    if (std::find(values.begin(), values.end(), "") == values.end() || may_be_empty(command, *option))
      continue;
    throw ssgpt::core::UsageError("{} was given an empty value: is a shell variable not set?",
                                  option->get_name());
  }
  for (const CLI::App* subcommand : command.get_subcommands()) refuse_empty_values(*subcommand);
}

// The parser would take the argument that comes next for the value of "--name=".
void refuse_options_without_value(int argc, char** argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with("--") || argument.find('=') != argument.size() - 1) continue;
    throw ssgpt::core::UsageError("{} was given an empty value: is a shell variable not set?",
                                  argument.substr(0, argument.size() - 1));
  }
}

// Runs the command as well. An empty value is told as such before anything else that is wrong with it.
void parse(CLI::App& app, int argc, char** argv) {
  refuse_options_without_value(argc, argv);
  app.parse_complete_callback([&app] { refuse_empty_values(app); });  // comes before that of a command
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success&) {
    throw;
  } catch (const CLI::ParseError&) {
    refuse_empty_values(app);
    throw;
  }
}

int run(int argc, char** argv) {
  namespace cli = ssgpt::cli;
  CLI::App app{
      "ssgpt: pretrain decoder-only transformers with Softmax or Scalable-Softmax attention, and compare "
      "them",
      "ssgpt"};
  app.set_version_flag("--version", [] { return cli::version_text(); });
  app.require_subcommand(1);
  app.footer(
      "Each command has its own --help. Exit codes: 0 done; 1 failed while running; 2 wrong usage or "
      "config;\n"
      "3 unreadable or corrupt input; 128 + signal after a stop that was asked for and saved.");
  cli::add_train(app, command_line(argc, argv));
  cli::add_sweep(app);
  cli::add_compare(app);
  cli::add_evaluate(app);
  cli::add_generate(app);
  cli::add_tokenizer(app);
  cli::add_prepare(app);
  cli::add_convert(app);
  cli::add_inspect(app);
  cli::add_bench(app);
  try {
    parse(app, argc, argv);
    return static_cast<int>(ExitCode::kDone);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    app.exit(e);
    return static_cast<int>(ExitCode::kUsage);
  } catch (const cli::Stopped& stopped) {
    return stopped.exit_code;
  } catch (const ssgpt::core::Error& e) {
    ssgpt::core::log::error("{}", e.what());
    return static_cast<int>(e.code());
  } catch (const std::exception& e) {
    ssgpt::core::log::error("{}", ssgpt::parallel::error_text(e));
    return static_cast<int>(ExitCode::kFailed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const at::NoGradGuard no_autograd;  // every backward is our own
  ssgpt::core::reserve_standard_streams();
  ssgpt::core::raise_open_file_limit();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error of write(), as a full disk is
  int code = run(argc, argv);
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (!written && code == static_cast<int>(ExitCode::kDone)) {
    ssgpt::core::log::error("The results could not be written to the standard output: {}.",
                            std::strerror(errno));
    code = static_cast<int>(ExitCode::kFailed);
  }
  ssgpt::core::log::shutdown();
  // What main owned is gone. The destructors of LibTorch's and CUDA's statics would only touch another 100
  // MB, which for a small model is more than training took.
  std::_Exit(code);
}
