#include "cli/run.h"

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/version_text.h"
#include "core/error.h"
#include "core/log.h"
#include "core/process.h"
#include "core/system_message.h"
#include "core/text.h"
#include "device/cuda_library.h"
#include "parallel/error_text.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

using core::ExitCode;

// The command line that a shell takes for the same arguments.
std::string command_line(int argc, const char* const* argv) {
  std::vector<std::string> words;
  for (int i = 0; i < argc; ++i) words.push_back(core::shell_word(argv[i]));
  return fmt::format("{}", fmt::join(words, " "));
}

// Runs the command; reports an exception as one message, and returns its exit code.
int run_and_catch(int argc, const char* const* argv) {
  CLI::App app{
      "ssgpt: pretrain decoder-only transformers with Softmax or Scalable-Softmax attention, and compare "
      "them",
      "ssgpt"};
  app.set_version_flag("--version", [] { return version_text(); });
  app.require_subcommand(1);
  app.footer(
      "Each command has its own --help. Exit codes: 0 done; 1 failed while running; 2 wrong usage or "
      "config;\n"
      "3 unreadable or corrupt input; 128 + signal stopped on request: training steps and shards are saved,\n"
      "evaluations write nothing.");
  add_train(app, command_line(argc, argv));
  add_sweep(app);
  add_compare(app);
  add_evaluate(app);
  add_generate(app);
  add_tokenizer(app);
  add_prepare(app);
  add_convert(app);
  add_inspect(app);
  add_keys(app);
  add_bench(app);
  add_completion(app);
  try {
    run_command_line(app, argc, argv);
    return static_cast<int>(ExitCode::kDone);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const Stopped& stopped) {
    return stopped.exit_code;
  } catch (const std::exception& e) {
    core::log::error("{}", parallel::error_text(e));
    return static_cast<int>(parallel::exit_code(e));
  }
}

}  // namespace

int run(int argc, const char* const* argv) {
  const at::NoGradGuard no_autograd;  // all backward passes are our own
  core::reserve_standard_streams();
  core::raise_open_file_limit();
  device::load_cuda_library();
  std::signal(SIGXFSZ, SIG_IGN);  // exceeding a file size limit then fails in write(), like a full disk
  int code = run_and_catch(argc, argv);
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (!written && code == static_cast<int>(ExitCode::kDone)) {
    core::log::error("The results could not be written to the standard output: {}.",
                     core::system_message(errno));
    code = static_cast<int>(ExitCode::kFailed);
  }
  core::log::shutdown();
  return code;
}

}  // namespace ssgpt::cli
