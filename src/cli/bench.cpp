// ssgpt bench step, kernels

#include "bench/kernels.h"
#include "bench/shapes.h"
#include "bench/step.h"
#include "bench/step_text.h"
#include "cli/commands.h"
#include "cli/share_cores.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/text.h"
#include "parallel/communicator.h"
#include "train/device.h"

#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

struct StepArguments {
  std::string shape = "quickstart";
  std::optional<std::string> config;
  std::vector<std::string> overrides;
  int64_t steps = 10;
  int64_t warmup = 2;
  std::vector<std::string> attention;
  bool on_request = false;
  bool json = false;
};

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::vector<config::AttentionKind> kinds_of(const std::vector<std::string>& names) {
  std::vector<config::AttentionKind> kinds;
  for (const std::string& name : names) {
    const auto kind = config::parse_attention_kind(name);
    if (!kind) {
      throw core::UsageError("--attention {}: no such kind; there are {}.", name,
                             fmt::join(config::attention_kind_names(), ", "));
    }
    kinds.push_back(*kind);
  }
  return kinds;
}

// For a script that measures several programs in turn: each line of the standard input is a number of steps
// to take, answered by a line of JSON.
void serve(config::Config config, int64_t warmup) {
  train::resolve_device_and_dtype(config);
  parallel::Communicator alone;
  bench::StepRunner runner(config, alone);
  for (int64_t i = 0; i < warmup; ++i) runner.step();
  print("{\"ready\": true}\n");
  for (std::string line; std::getline(std::cin, line);) {
    const auto steps = core::parse_number<int64_t>(line);
    if (!steps || *steps < 1) {
      throw core::UsageError("--on-request: the line '{}' is not a number of steps.", line);
    }
    std::vector<double> seconds;
    for (int64_t i = 0; i < *steps; ++i) seconds.push_back(runner.step());
    print(fmt::format("{{\"seconds\": [{}], \"peak_bytes\": {}}}\n", fmt::join(seconds, ", "),
                      core::peak_resident_bytes()));
  }
}

void run_step(const StepArguments& arguments) {
  const config::Config config = bench::step_config(arguments.shape, arguments.config, arguments.overrides);
  const parallel::Environment environment = parallel::read_environment();
  if (arguments.on_request) {
    if (environment.world_size > 1) throw core::UsageError("--on-request measures one process.");
    serve(config, arguments.warmup);
    return;
  }
  const bench::StepOptions options{.config = config, .steps = arguments.steps, .warmup = arguments.warmup};
  parallel::run_as_rank(environment, [&](parallel::Communicator& communicator) {
    share_cores(communicator.environment());
    if (arguments.attention.empty()) {
      const bench::StepReport report = bench::measure_step(options, communicator);
      if (communicator.is_main()) print(arguments.json ? to_json(report) : to_table(report));
    } else {
      const bench::AttentionReport report =
          bench::compare_attention(options, kinds_of(arguments.attention), communicator);
      if (communicator.is_main()) print(arguments.json ? to_json(report) : to_table(report));
    }
  });
}

void add_step(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand(
      "step",
      "The training step on random tokens: tokens/s, MFU, memory, and time by phase and operation beside "
      "what "
      "the\nmachine gives at best, a large matrix product and a large copy, measured in the same run");
  const auto arguments = std::make_shared<StepArguments>();
  command
      ->add_option("--shape", arguments->shape,
                   "quickstart: 6.8M parameters, T = 512, B = 8; paper: 162M, T = 1,024, B = 2")
      ->check(CLI::IsMember(bench::shape_names()))
      ->capture_default_str();
  command->add_option("--config", arguments->config, "Measure the model and batch of this config instead")
      ->excludes("--shape");
  command
      ->add_option("--set", arguments->overrides, "Override one key: --set train.dtype=bfloat16 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--steps", arguments->steps, "Steps to measure; with --attention, of each kind")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--warmup", arguments->warmup, "Steps before, not measured")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  CLI::Option* attention =
      command
          ->add_option(
              "--attention", arguments->attention,
              "Measure these kinds in turn and give the ratio of their times to that of the first, with "
              "its 95 % interval")
          ->delimiter(',')
          ->type_name("KIND,KIND");
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command
      ->add_flag("--on-request", arguments->on_request,
                 "For scripts: take as many steps as each line of the standard input says, and answer with "
                 "their seconds as a line of JSON")
      ->excludes(attention);
  command->footer(
      "Examples:\n"
      "  ssgpt bench step --shape paper --steps 5\n"
      "  ssgpt bench step --attention softmax,ssmax --steps 30\n"
      "  torchrun --no-python --nproc-per-node 2 ssgpt bench step --set train.micro_batch_size=4\n"
      "OMP_NUM_THREADS sets the number of threads.");
  command->callback([arguments] { run_step(*arguments); });
}

void add_kernels(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand(
      "kernels",
      "Each fused operation beside the same composed of plain ATen operations: time, GB/s or GFLOP/s");
  struct KernelArguments {
    bench::KernelOptions options;
    bool json = false;
  };
  const auto arguments = std::make_shared<KernelArguments>();
  command
      ->add_option("--filter", arguments->options.filter,
                   "Only operations whose name matches this regular expression")
      ->capture_default_str();
  command
      ->add_option("--min-time", arguments->options.min_seconds,
                   "Seconds that each one is repeated for, at least")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->footer(
      "Example:\n"
      "  ssgpt bench kernels --filter 'swiglu.*quickstart'\n"
      "OMP_NUM_THREADS sets the number of threads.");
  command->callback([arguments] {
    const auto results = bench::measure_kernels(arguments->options);
    print(arguments->json ? to_json(results) : to_table(results));
  });
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* bench =
      app.add_subcommand("bench", "Measure the speed of the training step, or of the operations");
  bench->require_subcommand(1);
  add_step(*bench);
  add_kernels(*bench);
}

}  // namespace ssgpt::cli
