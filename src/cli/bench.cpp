// ssgpt bench step, kernels, products

#include "bench/device_memory.h"
#include "bench/kernels.h"
#include "bench/products_text.h"
#include "bench/shapes.h"
#include "bench/step.h"
#include "bench/step_text.h"
#include "cli/commands.h"
#include "cli/number_checks.h"
#include "cli/share_cores.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/text.h"
#include "parallel/communicator.h"
#include "start/choose_device.h"
#include "start/choose_products.h"

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

// For scripts that measure several programs in turn: reads a number of steps from each line of stdin, takes
// them, and answers with a line of JSON.
void serve(config::Config config, int64_t warmup) {
  start::choose_device(config);
  start::choose_products(config, /*num_ranks=*/1, /*held=*/std::nullopt, /*origin=*/"");
  parallel::Communicator alone;
  bench::StepRunner runner(config, alone);
  runner.steps(warmup);
  print("{\"ready\": true}\n");
  for (std::string line; std::getline(std::cin, line);) {
    const auto steps = core::parse_number<int64_t>(line);
    if (!steps || *steps < 1) {
      throw core::UsageError("--on-request: the line '{}' is not a number of steps.", line);
    }
    const std::vector<double> seconds = runner.steps(*steps);
    std::string device;
    if (bench::on_gpu(config)) {
      const bench::DeviceMemory memory = bench::peak_device_memory(runner.device());
      device = fmt::format(", \"device_peak_bytes\": {}, \"device_reserved_bytes\": {}", memory.allocated,
                           memory.reserved);
    }
    print(fmt::format("{{\"seconds\": [{}], \"peak_bytes\": {}{}}}\n", fmt::join(seconds, ", "),
                      core::peak_resident_bytes(), device));
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
      "Measure the training step on random tokens: tokens/s, memory, and time by phase and operation, "
      "compared with\n"
      "what this machine reaches in a large GEMM (the GEMM share) and in a large copy; also MFU on a GPU "
      "whose\n"
      "spec sheet is known");
  const auto arguments = std::make_shared<StepArguments>();
  command
      ->add_option(
          "--shape", arguments->shape,
          "Model and batch: quickstart (6.8M parameters, T = 512, B = 8) or paper (162M, T = 1,024, B = 2), "
          "both on the CPU in float32 unless --set says otherwise")
      ->check(CLI::IsMember(bench::shape_names()))
      ->capture_default_str();
  command
      ->add_option("--config", arguments->config,
                   "Measure the model and batch of this config instead of --shape")
      ->type_name("FILE")
      ->excludes("--shape");
  command
      ->add_option("--set", arguments->overrides,
                   "Override one config key, for example train.dtype=bfloat16 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command
      ->add_option("--steps", arguments->steps,
                   "Number of steps to measure; with --attention, of each kind (on a GPU, in groups of ten)")
      ->transform(whole_number(1))
      ->capture_default_str();
  command->add_option("--warmup", arguments->warmup, "Number of warm-up steps before the measurement")
      ->transform(whole_number(0))
      ->capture_default_str();
  CLI::Option* attention =
      command
          ->add_option(
              "--attention", arguments->attention,
              "Measure these kinds of attention in turn, and report the ratio of their times to that of the "
              "first, with its 95 % interval")
          ->delimiter(',')
          ->type_name("KIND,KIND");
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command
      ->add_flag("--on-request", arguments->on_request,
                 "Take as many steps as each line of standard input says, and answer with their seconds as a "
                 "line of JSON (for scripts)")
      ->excludes(attention);
  command->footer(
      "Examples:\n"
      "  ssgpt bench step --shape paper --steps 5\n"
      "  ssgpt bench step --attention softmax,ssmax --steps 30\n"
      "  ssgpt bench step --shape paper --set train.device=cuda --set train.dtype=bfloat16\n"
      "    --set train.global_batch_size=32 --set train.micro_batch_size=32\n"
      "  torchrun --no-python --nproc-per-node 2 ssgpt bench step --set train.micro_batch_size=4\n"
      "\nOMP_NUM_THREADS sets the number of threads.");
  command->callback([arguments] { run_step(*arguments); });
}

struct KernelArguments {
  std::string device = "cpu";
  std::string dtype;
  std::string attention_backend;
  std::string filter = bench::KernelOptions().filter;
  double min_seconds = bench::KernelOptions().min_seconds;
  bool json = false;
};

// The device and dtype to measure on. Selects the GPU if one is asked for.
model::Execution kernel_execution(const KernelArguments& arguments) {
  using Backend = config::AttentionBackend;
  const bool gpu = arguments.device == "cuda";
  const bool bfloat16 = arguments.dtype.empty() ? gpu : arguments.dtype == "bfloat16";
  if (!gpu && !arguments.attention_backend.empty()) {
    throw core::UsageError("--attention-backend {}: a CPU has attention of its own; add --device cuda.",
                           arguments.attention_backend);
  }
  config::TrainConfig train;
  train.device = gpu ? config::Device::kCuda : config::Device::kCpu;
  train.dtype = bfloat16 ? config::Dtype::kBfloat16 : config::Dtype::kFloat32;
  train.attention_backend = bfloat16 ? Backend::kCudnn : Backend::kEfficient;
  for (const Backend backend : {Backend::kCudnn, Backend::kFlash, Backend::kEfficient}) {
    if (arguments.attention_backend == to_string(backend)) train.attention_backend = backend;
  }
  if (!bfloat16 && train.attention_backend != Backend::kEfficient) {
    throw core::UsageError("--attention-backend {}: computes in bfloat16 alone, --dtype is float32.",
                           arguments.attention_backend);
  }
  if (gpu) start::take_own_gpu(parallel::Environment(), /*deterministic=*/false);
  return start::execution_of(train);
}

void add_kernels(CLI::App& bench) {
  CLI::App* command =
      bench.add_subcommand("kernels",
                           "Compare each fused operation with the same mathematics in plain ATen operations: "
                           "time, GB/s, GFLOP/s\n"
                           "or TFLOP/s, and the share of what the machine reaches at best");
  const auto arguments = std::make_shared<KernelArguments>();
  command
      ->add_option("--device", arguments->device, "Device to measure; a GPU uses the paper's shape at B = 32")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command
      ->add_option("--dtype", arguments->dtype,
                   "Compute dtype: float32 or bfloat16 [default: float32 on a CPU, bfloat16 on a GPU]")
      ->check(CLI::IsMember({"float32", "bfloat16"}));
  command
      ->add_option("--attention-backend", arguments->attention_backend,
                   "Library whose attention counts as ours on a GPU: cudnn, flash or efficient [default: "
                   "cudnn, in float32 efficient]")
      ->check(CLI::IsMember({"cudnn", "flash", "efficient"}));
  command
      ->add_option("--filter", arguments->filter,
                   "Measure only operations whose name matches this regular expression")
      ->capture_default_str();
  command
      ->add_option("--min-time", arguments->min_seconds,
                   "Minimum time to repeat each operation for, in seconds")
      ->transform(positive_number())
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->footer(
      "Examples:\n"
      "  ssgpt bench kernels --filter 'swiglu.*quickstart'\n"
      "  ssgpt bench kernels --device cuda --filter attention --attention-backend flash\n"
      "\nOMP_NUM_THREADS sets the number of threads.");
  command->callback([arguments] {
    const bool table = !arguments->json;
    const bench::KernelReport report = bench::measure_kernels(
        {.execution = kernel_execution(*arguments),
         .filter = arguments->filter,
         .min_seconds = arguments->min_seconds},
        [table](const bench::KernelReport& begun) {
          if (table) print(heading(begun));
        },
        [table](const bench::KernelReport& so_far, const bench::KernelResult& result) {
          if (table) print(to_row(so_far, result));
        });
    if (arguments->json) print(to_json(report));
  });
}

struct ProductArguments {
  std::string device = "cpu";
  std::string filter = bench::ProductOptions().filter;
  double min_seconds = bench::ProductOptions().min_seconds;
  bool json = false;
};

void run_products(const ProductArguments& arguments) {
  bench::ProductOptions options{
      .execution = {}, .filter = arguments.filter, .min_seconds = arguments.min_seconds};
  if (arguments.device == "cuda") {
    start::take_own_gpu(parallel::Environment(), /*deterministic=*/false);
    options.execution.device = at::kCUDA;
    options.execution.dtype = at::kBFloat16;
  }
  const bool table = !arguments.json;
  const bench::ProductReport report = bench::measure_products(
      options,
      [table](const bench::ProductReport& begun) {
        if (table) print(heading(begun));
      },
      [table](const bench::ProductReport& so_far, const bench::ProductResult& result) {
        if (table) print(to_row(so_far, result));
      });
  print(arguments.json ? to_json(report) : totals(report));
}

void add_products(CLI::App& bench) {
  CLI::App* command = bench.add_subcommand(
      "products",
      "Compare the ways to compute each GEMM of a step, in turn. On a CPU, in float32: ours, ATen's library "
      "and\n"
      "oneDNN, on one thread and on all, with the ratios of their times to ours and 95 % intervals. On a "
      "GPU, in\n"
      "bfloat16: cuBLASLt's first proposal, the fastest of 16, which training uses, the fastest with other "
      "reductions\n"
      "and workspaces, and ATen's GEMM");
  const auto arguments = std::make_shared<ProductArguments>();
  command
      ->add_option("--device", arguments->device, "Device to measure; a GPU uses the paper's shape at B = 32")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  command
      ->add_option("--filter", arguments->filter,
                   "Measure only GEMMs whose name matches this regular expression")
      ->capture_default_str();
  command
      ->add_option("--min-time", arguments->min_seconds, "Minimum time to repeat each side for, in seconds")
      ->transform(positive_number())
      ->capture_default_str();
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->footer(
      "Examples:\n"
      "  ssgpt bench products --filter 'gate and up.*quickstart'\n"
      "  ssgpt bench products --device cuda --filter 'weight gradient'\n"
      "\nOMP_NUM_THREADS sets the larger of the two numbers of threads.");
  command->callback([arguments] { run_products(*arguments); });
}

}  // namespace

void add_bench(CLI::App& app) {
  CLI::App* bench =
      app.add_subcommand("bench", "Measure the speed of the training step, its operations or its GEMMs");
  bench->require_subcommand(1);
  add_step(*bench);
  add_kernels(*bench);
  add_products(*bench);
}

}  // namespace ssgpt::cli
