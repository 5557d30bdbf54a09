// ssgpt sweep: trains variants and seeds of one config as ordinary runs, side by side on the cores or GPUs.

#include "cli/commands.h"
#include "cli/number_checks.h"
#include "cli/print.h"
#include "config/sweep_file.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/process.h"
#include "core/stop_signal.h"
#include "core/system_message.h"
#include "core/text.h"
#include "device/cuda_library.h"
#include "device/gpu.h"
#include "parallel/environment.h"
#include "parallel/error_text.h"
#include "report/draw_command.h"
#include "report/text_table.h"
#include "run/sweep_record.h"
#include "sweep/parents.h"
#include "sweep/plan.h"
#include "sweep/results.h"
#include "sweep/scheduler.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {
namespace {

constexpr const char* kProgram = "/proc/self/exe";  // works even if the file has been replaced

struct SweepArguments {
  std::string config;
  std::string directory;
  int64_t jobs = 0;  // 0: as in the file
  int64_t only = 0;  // 0: all
  bool list = false;
  bool json = false;
};

using Runs = std::vector<config::SweepRun>;

bool any_on(const Runs& runs, config::Device device) {
  return std::any_of(runs.begin(), runs.end(),
                     [device](const auto& run) { return run.config.train.device == device; });
}

// Whether one of these runs has train.device: auto, and that means a GPU.
bool auto_is_gpu(const Runs& runs) {
  return any_on(runs, config::Device::kAuto) && device::has_usable_gpu();
}

// Whether a run of these trains on a GPU of this machine.
bool uses_gpu(const Runs& runs) {
  return any_on(runs, config::Device::kCuda) || auto_is_gpu(runs);
}

void print_list(const std::filesystem::path& directory, const Runs& runs, bool json) {
  using report::TextTable;
  const std::vector<sweep::Status> statuses = sweep::statuses_on_disk(directory, runs);
  nlohmann::ordered_json objects = nlohmann::ordered_json::array();
  TextTable table({TextTable::Align::kRight, TextTable::Align::kLeft, TextTable::Align::kLeft,
                   TextTable::Align::kRight, TextTable::Align::kLeft});
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::string state = to_string(statuses[i].state);
    objects.push_back({{"number", i + 1},
                       {"name", runs[i].name},
                       {"variant", runs[i].variant},
                       {"point", runs[i].point},
                       {"seed", runs[i].seed},
                       {"state", state},
                       {"step", statuses[i].step},
                       {"max_steps", statuses[i].max_steps}});
    const std::string step =
        statuses[i].step > 0 ? fmt::format(" {}/{}", statuses[i].step, statuses[i].max_steps) : "";
    table.add({fmt::format("{}", i + 1), runs[i].name, runs[i].variant, fmt::format("{}", runs[i].seed),
               state + step});
  }
  if (json) {
    print_raw(core::json_text(objects, 2) + "\n");
  } else {
    print_text(table.text());
  }
}

// Replaces this process by `ssgpt train` of that run. Returns only if the run is already done.
void run_only(const std::filesystem::path& directory, const config::Sweep& sweep, int64_t number) {
  if (number > static_cast<int64_t>(sweep.runs.size())) {
    throw core::UsageError("--only {}: the sweep has {} runs, counted from 1 (--list prints them).", number,
                           sweep.runs.size());
  }
  const Runs one = {sweep.runs[static_cast<size_t>(number - 1)]};
  sweep::require_same_settings(directory, one);
  const sweep::Status status = sweep::statuses_on_disk(directory, one).front();
  if (status.state == sweep::State::kFailed) throw core::RunError("{}: {}", one.front().name, status.reason);
  if (status.state == sweep::State::kDone) {
    run::write_sweep_record(directory, sweep);
    core::log::info("{} is done: {} of {} steps.", one.front().name, status.step, status.max_steps);
    return;
  }
  sweep::require_known_dtype(one, auto_is_gpu(one));
  sweep::require_same_data(directory, sweep.runs);
  const std::optional<std::filesystem::path> parent = sweep::find_parents(directory, one).front();
  core::create_writable_directory(directory);
  run::write_sweep_record(directory, sweep);
  sweep::write_configs(directory, one);
  std::vector<std::string> arguments = sweep::train_arguments(directory, one.front(), parent);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  core::log::shutdown();
  ::execv(kProgram, pointers.data());
  throw core::RunError("The program could not start itself: {}", core::system_message(errno));
}

// The runs that are neither done nor failed.
Runs to_train(const config::Sweep& sweep, const std::vector<sweep::Status>& statuses) {
  Runs runs;
  for (size_t i = 0; i < statuses.size(); ++i) {
    const sweep::State state = statuses[i].state;
    if (state != sweep::State::kDone && state != sweep::State::kFailed) runs.push_back(sweep.runs[i]);
  }
  return runs;
}

// Trains the remaining runs. Returns the status of all runs.
std::vector<sweep::Status> train_runs(const std::filesystem::path& directory, const config::Sweep& sweep,
                                      std::optional<int64_t> jobs) {
  const std::vector<sweep::Status> statuses = sweep::statuses_on_disk(directory, sweep.runs);
  const Runs left = to_train(sweep, statuses);
  const auto parents = sweep::find_parents(directory, sweep.runs);
  const std::vector<std::string> notes = sweep::require_same_data(directory, sweep.runs);
  if (left.empty()) {
    for (const std::string& note : notes) core::log::info("{}", note);
    run::write_sweep_record(directory, sweep);
    return statuses;
  }
  sweep::require_known_dtype(left, auto_is_gpu(left));
  const bool gpu = uses_gpu(left);
  sweep::allow_all_places();
  const sweep::Placement placement =
      sweep::place(sweep::this_machine(gpu ? device::require_gpus() : 0), static_cast<int64_t>(left.size()),
                   jobs ? jobs : sweep.jobs);
  sweep::require_readable_data(left);
  for (const std::string& note : notes) core::log::info("{}", note);
  if (!placement.warning.empty()) core::log::warning("{}", placement.warning);
  if (const auto warning = sweep::disk_warning(directory, left)) core::log::warning("{}", *warning);
  run::write_sweep_record(directory, sweep);  // first, since it marks the folder as a sweep's
  sweep::write_configs(directory, left);
  core::log::info("{}: {} of {} runs to train, {} at a time, {} each{}.", directory.string(), left.size(),
                  sweep.runs.size(), placement.jobs, core::counted(placement.threads, "thread"),
                  placement.gpus.empty() ? "" : fmt::format(", on GPUs {}", fmt::join(placement.gpus, ", ")));
  std::vector<sweep::Task> tasks;
  for (size_t i = 0; i < sweep.runs.size(); ++i) {
    tasks.push_back({.name = sweep.runs[i].name,
                     .directory = sweep::directory_of(directory, sweep.runs[i]),
                     .program = kProgram,
                     .arguments = sweep::train_arguments(directory, sweep.runs[i], parents[i]),
                     .status = statuses[i]});
  }
  const core::StopSignal stop;
  std::vector<sweep::Status> ended;
  int stopped_by = 0;
  {
    sweep::Scheduler scheduler(std::move(tasks), placement, sweep::can_redraw());
    stopped_by = scheduler.run([&stop] { return stop.received(); });
    ended = scheduler.statuses();
  }
  if (stopped_by != 0) {
    core::log::info("Stopped by signal {}: {}. Continue with the same command.", stopped_by,
                    sweep::total_line(ended, std::nullopt));
    throw Stopped{128 + stopped_by};
  }
  return ended;
}

// "\n NAME, step 3/20: REASON" for each failed run.
std::string list_failed(const config::Sweep& sweep, const std::vector<sweep::Status>& statuses) {
  std::string failed;
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].state != sweep::State::kFailed) continue;
    failed += fmt::format("\n  {}, step {}/{}: {}", sweep.runs[i].name, statuses[i].step,
                          statuses[i].max_steps, statuses[i].reason);
  }
  return failed;
}

void print_results(const std::filesystem::path& directory, const config::Sweep& sweep) {
  const sweep::Results results = sweep::write_results(directory, sweep);
  print_text(results.text);
  for (const std::string& note : results.notes) core::log::info("{}", note);
  for (const std::filesystem::path& report : results.directories) {
    print_text(fmt::format("To draw it: {}\n", report::draw_command(report)));
  }
}

// Throws where a run failed, which is reported last, even if the comparison fails too.
void finish(const std::filesystem::path& directory, const config::Sweep& sweep,
            const std::vector<sweep::Status>& statuses) {
  const std::string failed = list_failed(sweep, statuses);
  try {
    print_results(directory, sweep);
  } catch (const std::exception& error) {
    if (failed.empty()) throw;
    core::log::error("{}", parallel::error_text(error));
  }
  if (!failed.empty()) {
    throw core::RunError("These runs failed; the same command starts them again:{}", failed);
  }
}

void run_sweep(const SweepArguments& arguments) {
  config::Sweep sweep = config::load_sweep(arguments.config);
  sweep::resolve_epochs(sweep.runs);
  const std::filesystem::path directory = arguments.directory;
  if (run::RunDirectory(directory).holds_run()) {
    throw core::UsageError(
        "{} is the folder of a run, and a sweep needs one of its own: choose another --run-dir.",
        directory.string());
  }
  if (arguments.list) return print_list(directory, sweep.runs, arguments.json);
  device::share_cuda_library();  // early: a build may replace the file at any time
  core::ignore_sigpipe();
  run::require_own_files(directory, sweep, sweep::result_files(directory, sweep));
  if (arguments.only > 0) return run_only(directory, sweep, arguments.only);
  if (parallel::read_environment().world_size > 1) {
    throw core::UsageError(
        "A sweep starts its runs itself, and was started in several processes by a launcher. Start it once, "
        "or one run per process: --only NUMBER (scripts/slurm/sweep.sbatch).");
  }
  sweep::require_same_settings(directory, sweep.runs);
  core::create_writable_directory(directory);
  const run::Lock lock(run::RunDirectory(directory), "training the sweep in");
  run::remove_temporaries(directory);
  const std::optional<int64_t> jobs = arguments.jobs > 0 ? std::optional(arguments.jobs) : std::nullopt;
  finish(directory, sweep, train_runs(directory, sweep, jobs));
}

}  // namespace

void add_sweep(CLI::App& app) {
  const auto arguments = std::make_shared<SweepArguments>();
  CLI::App* command =
      app.add_subcommand("sweep",
                         "Train variants of one config, each with the same seeds, as ordinary runs side by "
                         "side on the cores, or one per\n"
                         "GPU, and compare them. The same command resumes a stopped sweep.");
  command->add_option("--config", arguments->config, "Sweep file, YAML or JSON")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--run-dir", arguments->directory,
                   "Folder of the sweep; each run is in RUN_DIR/<variant>-seed<seed>")
      ->required()
      ->type_name("DIR");
  CLI::Option* jobs =
      command->add_option("--jobs", arguments->jobs, "Runs at a time [default: jobs in the file]")
          ->transform(whole_number(1, 10'000));
  CLI::Option* list = command->add_flag("--list", arguments->list,
                                        "Print number, name, variant, seed and state of each run, and exit");
  command->add_flag("--json", arguments->json, "Print JSON (with --list)")->needs(list);
  command
      ->add_option(
          "--only", arguments->only,
          "Train only this run, by its number in --list, in this process: for the tasks of a Slurm array")
      ->transform(whole_number(1, 100'000))
      ->excludes(jobs)
      ->excludes(list);
  command->footer(
      "The sweep file:\n"
      "  base: base.yaml                  # a config beside this file, or a mapping of its sections\n"
      "  variants:                        # each name with the keys that it sets\n"
      "    softmax: {model.attention.kind: softmax}\n"
      "    ssmax: {model.attention.kind: ssmax}\n"
      "    bias: {model.attention.kind: ssmax_bias, seeds: 2}   # may have its own seeds and init_from\n"
      "  seeds: [1, 2, 3, 4]              # or their number: 4\n"
      "  grid: {optimizer.lr: [1e-3, 2e-3]}   # optional: each variant at each point\n"
      "  jobs: auto                       # optional: runs at a time; auto: one per GPU, or one per core\n"
      "  baseline: softmax                # optional: the first variant\n"
      "  init_from: runs/pre/{variant}-seed{seed}   # optional: each starts from the weights of that run\n"
      "  allow_other_data: false          # optional: whether variants and grid may set data.*\n\n"
      "Examples:\n"
      "  ssgpt sweep --config my/sweep.yaml --run-dir runs/sweep\n"
      "  ssgpt sweep --config my/sweep.yaml --run-dir runs/sweep --list\n"
      "  ssgpt compare runs/sweep         # also while it runs\n\n"
      "Exit code 1: a run failed; the others were trained. SIGINT, SIGTERM, SIGUSR1 and SIGHUP save all "
      "runs\n"
      "and stop; a second one, unless it is SIGHUP, ends them at once.");
  command->callback([arguments] { run_sweep(*arguments); });
}

}  // namespace ssgpt::cli
