// How many runs train at once, and what each gets of the machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::sweep {

struct Machine {
  int64_t cores = 1;               // that this process may use
  std::vector<std::string> gpus;   // how CUDA_VISIBLE_DEVICES names each; empty: the runs train on the CPU
  std::optional<int64_t> threads;  // of each run, where OMP_NUM_THREADS asks for it
};

struct Placement {
  int64_t jobs = 1;
  int64_t threads = 1;            // of each run
  std::vector<std::string> gpus;  // one for each of the jobs, or none
  std::string warning;            // empty: all is well
};

// `runs`: that are not finished, at least one. `jobs`: as asked for; none: as many as there are GPUs, or
// cores for one thread each (for OMP_NUM_THREADS each where that is set). Fewer runs than cores share these
// out. Throws core::UsageError for more jobs than GPUs; more threads than cores are a warning.
Placement place(const Machine& machine, int64_t runs, std::optional<int64_t> jobs);

// Where OMP_PROC_BIND, OMP_PLACES or GOMP_CPU_AFFINITY are set, OpenMP's runtime has bound this thread to the
// first of their places, and children would inherit that. Allows it the cores of all places again. Before
// this_machine().
void allow_all_places();

// The cores in this process's affinity mask, OMP_NUM_THREADS, and, where `num_gpus` is above 0, as many GPUs
// by the names of CUDA_VISIBLE_DEVICES, or their numbers.
Machine this_machine(int64_t num_gpus);

}  // namespace ssgpt::sweep
