// How many runs train at a time, and with which share of the machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::sweep {

struct Machine {
  int64_t cores = 1;               // available to this process
  std::vector<std::string> gpus;   // as named in CUDA_VISIBLE_DEVICES; empty: the runs train on the CPU
  std::optional<int64_t> threads;  // per run, if OMP_NUM_THREADS is set
};

struct Placement {
  int64_t jobs = 1;
  int64_t threads = 1;            // per run
  std::vector<std::string> gpus;  // one per job, or empty
  std::string warning;            // empty: none
};

// `runs`: number of unfinished runs, at least one. `jobs`: as requested; nullopt: one per GPU, or on the CPU
// one per core (one per OMP_NUM_THREADS cores where that is set). Where there are fewer runs than cores, they
// share the cores evenly. Throws core::UsageError for more jobs than GPUs; more threads than cores cause a
// warning.
Placement place(const Machine& machine, int64_t runs, std::optional<int64_t> jobs);

// Where OMP_PROC_BIND, OMP_PLACES or GOMP_CPU_AFFINITY are set, the OpenMP runtime has bound this thread to
// the first place, and children would inherit that binding. Resets the affinity to the cores of all places.
// Call before this_machine().
void allow_all_places();

// The cores in this process's affinity mask, OMP_NUM_THREADS, and `num_gpus` GPUs, named as in
// CUDA_VISIBLE_DEVICES, or by their numbers.
Machine this_machine(int64_t num_gpus);

}  // namespace ssgpt::sweep
