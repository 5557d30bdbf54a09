// The program: parses the command line, runs the command, turns every exception into one message and an exit
// code.

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/version_text.h"
#include "core/error.h"
#include "core/log.h"
#include "parallel/error_text.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

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
    cli::run_command_line(app, argc, argv);
    return static_cast<int>(ExitCode::kDone);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
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
  std::signal(SIGXFSZ, SIG_IGN);      // a limit on file sizes is then an error of write(), as a full disk is
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
