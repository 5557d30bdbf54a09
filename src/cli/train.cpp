// ssgpt train

#include "cli/commands.h"
#include "cli/print.h"
#include "cli/share_cores.h"
#include "config/config.h"
#include "core/error.h"
#include "core/process.h"
#include "core/stop_signal.h"
#include "parallel/communicator.h"
#include "parallel/environment.h"
#include "start/describe.h"
#include "start/start.h"
#include "sweep/child.h"
#include "train/trainer.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

struct TrainArguments {
  start::Options options;
  std::string config;
  std::string run_directory;
  std::string resume;
  std::string init_from;
  std::string swap_attention;
  bool dry_run = false;
};

template <typename T>
std::optional<T> given(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional<T>(text);
}

void run(const TrainArguments& arguments, const std::string& command_line) {
  sweep::end_with_parent();
  const parallel::Environment environment = parallel::read_environment();
  if (arguments.dry_run && environment.rank != 0) return;  // a dry run needs rank 0 only
  start::Options options = arguments.options;
  options.config = given<std::filesystem::path>(arguments.config);
  options.run_directory = given<std::filesystem::path>(arguments.run_directory);
  options.resume = given<std::string>(arguments.resume);
  options.init_from = given<std::filesystem::path>(arguments.init_from);
  if (!arguments.swap_attention.empty()) {
    options.swap_attention = config::parse_attention_kind(arguments.swap_attention);
  }
  if (arguments.dry_run) {
    print_text(start::describe(start::begin_alone(options), environment.world_size) + "\n");
    return;
  }
  core::ignore_sigpipe();
  // Set when training begins, and kept until the process ends: launchers forward a signal also to ranks that
  // are done while another still writes the last checkpoint, and their exit code must not be that of a killed
  // process.
  static std::optional<core::StopSignal> stop_signal;
  train::TrainResult result;
  parallel::run_as_rank(environment, [&](parallel::Communicator& communicator) {
    share_cores(communicator.environment());
    train::keep_freed_memory();
    result = train::train(start::begin(options, communicator), command_line, communicator, stop_signal);
  });
  // torchrun would treat any other code as a failure and restart the workers.
  if (result.stop_signal != 0) throw Stopped{environment.elastic_agent ? 0 : 128 + result.stop_signal};
}

}  // namespace

void add_train(CLI::App& app, const std::string& command_line) {
  CLI::App* command = app.add_subcommand("train", "Pretrain or fine-tune a model from a config");
  auto arguments = std::make_shared<TrainArguments>();
  command
      ->add_option("--config", arguments->config,
                   "Config file, YAML or JSON; may be omitted with --resume DIR")
      ->type_name("FILE");
  command
      ->add_option("--set", arguments->options.overrides,
                   "Override one config key, for example optimizer.lr=1e-3 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command
      ->add_option("--run-dir", arguments->run_directory, "Directory of the run [default: runs/<run.name>]")
      ->type_name("DIR");
  command
      ->add_option(
          "--resume", arguments->resume,
          "Checkpoint or run directory to resume from; auto resumes from the newest valid checkpoint of the "
          "run directory, or begins a new run if there is none")
      ->type_name("auto|DIR");
  command
      ->add_option("--init-from", arguments->init_from,
                   "Begin a new run with the weights of this checkpoint (ours, or a Hugging Face "
                   "directory of a Llama or Qwen 3 model)")
      ->type_name("DIR");
  command
      ->add_option("--swap-attention", arguments->swap_attention,
                   "Swap the attention of the resumed or initial model to this kind, once")
      ->check(CLI::IsMember(config::attention_kind_names()));
  command->add_flag(
      "--dry-run", arguments->dry_run,
      "Print the resolved config, parameters, memory and token budget, check every input, and exit");
  command->footer(
      "Examples:\n"
      "  ssgpt train --config configs/quickstart/ssmax.yaml --run-dir runs/ssmax\n"
      "  ssgpt train --config configs/quickstart/ssmax.yaml --run-dir runs/ssmax --resume auto --set "
      "train.max_steps=2000\n"
      "  ssgpt train --resume runs/softmax --run-dir runs/swapped --swap-attention ssmax --set "
      "train.max_steps=2000\n"
      "  ssgpt train --config configs/paper/fine-tune.yaml --init-from "
      "runs/paper-b-ssmax/checkpoints/step-00200000\n"
      "  torchrun --no-python --nproc-per-node 8 ssgpt train --config configs/paper/b-ssmax.yaml\n\n"
      "Under torchrun, srun or mpirun all processes train one model, each on its part of every batch.\n"
      "SIGTERM, SIGINT, SIGUSR1 and SIGHUP save the run and stop; a second one, unless it is SIGHUP, stops "
      "at once.\n\n"
      "Config keys:\n" +
      config::describe_keys());
  command->callback([arguments, command_line] { run(*arguments, command_line); });
}

}  // namespace ssgpt::cli
