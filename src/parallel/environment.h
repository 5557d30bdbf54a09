// Which process of how many this is, from the variables that launchers set; and what follows from its place
// on its machine: its GPU, its share of the cores.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace ssgpt::parallel {

enum class Launcher { kNone, kTorchrun, kSlurm, kOpenMpi };

struct Environment {
  Launcher launcher = Launcher::kNone;
  int64_t rank = 0;
  int64_t world_size = 1;
  int64_t local_rank = 0;                    // among the processes of this machine
  std::optional<int64_t> local_world_size;   // how many these are; none: the launcher does not say
  std::string master_address = "127.0.0.1";  // where rank 0, or torchrun's agent, serves the store
  int64_t master_port = 29500;
  bool agent_serves_store = false;  // torchrun's agent does: every rank, 0 included, is a client
  bool elastic_agent = false;       // started by torchrun, which takes any non-zero exit for a failure
  int64_t restart_count = 0;        // how often torchrun started the workers anew
  std::optional<std::filesystem::path> error_file;  // where torchrun looks for the reason of a failure
};

// Reads torchrun's (or the same variables set by hand), mpirun's and srun's variables; none of them: one
// process. Throws core::UsageError, naming the variables, where they are partial, contradict each other or
// are not numbers.
Environment read_environment();

// Writes torchrun's error file, where the environment has one: its agent then shows `message` as the reason.
// Throws nothing: a failure to write is dropped, since it would hide the reason itself.
void write_error_file(const Environment& environment, const std::string& message) noexcept;

// The index of this process's GPU: its local rank. Throws core::UsageError where this machine has fewer GPUs
// than processes: a shared GPU would silently halve the speed.
int64_t choose_gpu(const Environment& environment, int64_t num_gpus);

// How many threads this process computes with: what OMP_NUM_THREADS says, where it is set; the cores that the
// process is bound to, where a launcher bound it to some of the machine's; else its even share of all of
// them, at least 1. `allowed_cores`: in the affinity mask; `machine_cores`: online.
int64_t choose_num_threads(const Environment& environment, int64_t allowed_cores, int64_t machine_cores);

}  // namespace ssgpt::parallel
