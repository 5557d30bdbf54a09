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
  std::optional<std::filesystem::path> error_file;  // where torchrun looks for the reason of a failure
};

// Reads the variables of the first of these launchers that has set any of its own; none: one process.
// - torchrun, or the same by hand: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, all required;
//   LOCAL_WORLD_SIZE, TORCHELASTIC_*
// - mpirun: OMPI_COMM_WORLD_{RANK,SIZE,LOCAL_RANK,LOCAL_SIZE}; MASTER_ADDR, required unless all processes
//   are on one machine; MASTER_PORT
// - srun: SLURM_{PROCID,NTASKS,LOCALID}, in a step or with MASTER_ADDR, which several processes need;
//   MASTER_PORT
// An empty variable is as good as none. Throws core::UsageError, naming the variables and their values, where
// they are partial, contradict each other (also where those set by hand are not mpirun's or srun's) or are no
// whole numbers in range.
Environment read_environment();

// Writes torchrun's error file, where the environment has one: its agent then shows `message` as the reason
// of the failure; of several failures it calls the earliest the root cause. Throws nothing: a failure to
// write is dropped, since it would hide the reason itself.
void write_error_file(const Environment& environment, const std::string& message) noexcept;

// The index of this process's GPU: its local rank. Throws core::UsageError where this process sees fewer GPUs
// than its machine has processes: a shared GPU would silently halve the speed. Without local_world_size only
// the processes without a GPU notice.
int64_t choose_gpu(const Environment& environment, int64_t num_gpus);

// How many threads this process computes with: what OMP_NUM_THREADS says, where that is a positive number;
// the cores that the process is bound to, where srun or mpirun bound it to some of the machine's; else an
// even share of the cores that it may use, at least 1 (a mask that no launcher set is that of a container,
// and all processes have it). The caller fills in local_world_size where the launcher does not say it:
// without it the process takes itself for the only one of its machine. `allowed_cores`: in the affinity mask;
// `machine_cores`: online.
int64_t choose_num_threads(const Environment& environment, int64_t allowed_cores, int64_t machine_cores);

}  // namespace ssgpt::parallel
