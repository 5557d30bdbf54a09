#include "sweep/placement.h"

#include "core/error.h"
#include "core/text.h"
#include "core/variables.h"

#include <algorithm>
#include <omp.h>
#include <sched.h>
#include <string>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>

namespace ssgpt::sweep {
namespace {

// The first fields of a comma-separated list, at most `count`.
std::vector<std::string> first_fields(std::string_view text, size_t count) {
  std::vector<std::string> fields;
  while (fields.size() < count && !text.empty()) {
    const size_t comma = text.find(',');
    fields.emplace_back(text.substr(0, comma));
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
  }
  return fields;
}

}  // namespace

Placement place(const Machine& machine, int64_t runs, std::optional<int64_t> jobs) {
  const auto gpus = static_cast<int64_t>(machine.gpus.size());
  if (gpus > 0 && jobs.value_or(1) > gpus) {
    throw core::UsageError(
        "{} jobs: there {} {}, and each run needs one of its own. Leave jobs at auto, or ask for {} at most.",
        *jobs, gpus == 1 ? "is" : "are", core::counted(gpus, "GPU"), gpus);
  }
  const int64_t fitting = gpus > 0 ? gpus : std::max<int64_t>(1, machine.cores / machine.threads.value_or(1));
  Placement placement;
  placement.jobs = std::min(runs, jobs.value_or(fitting));
  placement.threads = machine.threads.value_or(std::max<int64_t>(1, machine.cores / placement.jobs));
  if (gpus > 0) placement.gpus.assign(machine.gpus.begin(), machine.gpus.begin() + placement.jobs);
  if (gpus == 0 && placement.jobs * placement.threads > machine.cores) {
    placement.warning =
        fmt::format("{} threads for {} ({} at a time, {} each): they will slow each other down.",
                    placement.jobs * placement.threads, core::counted(machine.cores, "core"),
                    core::counted(placement.jobs, "run"), core::counted(placement.threads, "thread"));
  }
  return placement;
}

void allow_all_places() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (int place = 0; place < omp_get_num_places(); ++place) {
    std::vector<int> cores(static_cast<size_t>(omp_get_place_num_procs(place)));
    omp_get_place_proc_ids(place, cores.data());
    for (const int core : cores) CPU_SET(static_cast<size_t>(core), &mask);
  }
  if (CPU_COUNT(&mask) > 0) sched_setaffinity(0, sizeof mask, &mask);
}

Machine this_machine(int64_t num_gpus) {
  Machine machine;
  cpu_set_t mask;
  const bool known = sched_getaffinity(0, sizeof mask, &mask) == 0;
  machine.cores = std::max<int64_t>(1, known ? CPU_COUNT(&mask) : sysconf(_SC_NPROCESSORS_ONLN));
  const std::string wish = core::find_variable("OMP_NUM_THREADS").value_or("");
  const auto threads = core::parse_number<int64_t>(wish.substr(0, wish.find(',')));
  if (threads && *threads >= 1) machine.threads = threads;
  machine.gpus =
      first_fields(core::find_variable("CUDA_VISIBLE_DEVICES").value_or(""), static_cast<size_t>(num_gpus));
  while (static_cast<int64_t>(machine.gpus.size()) < num_gpus) {
    machine.gpus.push_back(fmt::format("{}", machine.gpus.size()));
  }
  return machine;
}

}  // namespace ssgpt::sweep
