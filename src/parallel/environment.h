// The rank of this process and the number of ranks, from the variables that launchers set; and what follows
// from its place on its machine: its GPU and its share of the cores.
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
  int64_t local_rank = 0;                    // rank among the processes of this machine
  std::optional<int64_t> local_world_size;   // number of processes on this machine, if known
  std::string master_address = "127.0.0.1";  // where rank 0, or torchrun's agent, serves the store
  int64_t master_port = 29500;
  bool agent_serves_store = false;  // torchrun's agent serves it: every rank, 0 included, is a client
  bool elastic_agent = false;       // started by torchrun, which treats any non-zero exit as a failure
  std::optional<std::filesystem::path> error_file;  // where torchrun looks for the reason of a failure
};

// Reads the variables of the first of these launchers that has set any of its own; if none has, this is a
// single process.
// - torchrun, or the same set by hand: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, all
//   required; LOCAL_WORLD_SIZE, TORCHELASTIC_*
// - mpirun: OMPI_COMM_WORLD_{RANK,SIZE,LOCAL_RANK,LOCAL_SIZE}; MASTER_ADDR, required unless all processes
//   are on one machine; MASTER_PORT
// - srun: SLURM_{PROCID,NTASKS,LOCALID}, in a step or with MASTER_ADDR, which several processes need;
//   MASTER_PORT
// An empty variable counts as unset. Throws core::UsageError, naming the variables and their values, if they
// are incomplete, contradict each other (which includes variables set by hand that disagree with those of
// mpirun or srun) or are not whole numbers in range.
Environment read_environment();

// Writes torchrun's error file, if the environment names one: its agent then shows `message` as the reason of
// the failure; of several failures it calls the earliest the root cause. Throws nothing: a failure to write
// is ignored, since it would hide the reason itself.
void write_error_file(const Environment& environment, const std::string& message) noexcept;

// Returns the index of this process's GPU: its local rank. Throws core::UsageError if this process sees fewer
// GPUs than its machine has processes, since sharing a GPU would silently halve the speed. Without
// local_world_size only the processes without a GPU notice.
int64_t choose_gpu(const Environment& environment, int64_t num_gpus);

// Returns the number of compute threads of this process: OMP_NUM_THREADS, if that is a positive number; the
// cores that the process is bound to, if srun or mpirun bound it to some of the machine's; else an even share
// of the cores that it may use, at least 1 (a mask that no launcher set is a container's, and all processes
// have it). The caller fills in local_world_size if the launcher does not set it: without it the process
// takes itself for the only one on its machine. `allowed_cores`: number in the affinity mask;
// `machine_cores`: number online.
int64_t choose_num_threads(const Environment& environment, int64_t allowed_cores, int64_t machine_cores);

}  // namespace ssgpt::parallel
