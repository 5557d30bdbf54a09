#include "parallel/environment.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "core/variables.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::parallel {
namespace {

using core::find_number_variable;
using core::find_variable;

constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();  // ranks are int in c10d
constexpr int64_t kMaxPort = 65535;

// The variables by which a launcher tells a process its place.
struct Variables {
  Launcher launcher;
  const char* program;
  const char* rank;
  const char* world_size;
  const char* local_rank;
  const char* local_world_size;  // nullptr: the launcher sets no reliable one
};

constexpr Variables kTorchrun = {Launcher::kTorchrun, "torchrun",   "RANK",
                                 "WORLD_SIZE",        "LOCAL_RANK", "LOCAL_WORLD_SIZE"};
constexpr Variables kMpirun = {Launcher::kOpenMpi,           "mpirun",
                               "OMPI_COMM_WORLD_RANK",       "OMPI_COMM_WORLD_SIZE",
                               "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"};
constexpr Variables kSrun = {Launcher::kSlurm, "srun",          "SLURM_PROCID",
                             "SLURM_NTASKS",   "SLURM_LOCALID", /*local_world_size=*/nullptr};

bool any_is_set(const Variables& variables) {
  return find_variable(variables.rank) || find_variable(variables.world_size) ||
         find_variable(variables.local_rank);
}

void require(const Variables& variables, const std::vector<std::string>& required) {
  std::vector<std::string> missing;
  std::vector<std::string> present;
  for (const std::string& name : required) (find_variable(name.c_str()) ? present : missing).push_back(name);
  if (missing.empty()) return;
  throw core::UsageError(
      "The variables of {} are incomplete: {} {} not set, although {} {}. Start all processes with torchrun, "
      "srun or mpirun, which set them, or set each of {} for every process; or unset them to train in one "
      "process.",
      variables.program, core::listed(missing), missing.size() == 1 ? "is" : "are", core::listed(present),
      present.size() == 1 ? "is" : "are", core::listed(required));
}

void refuse(const char* name, int64_t value, const char* other, int64_t other_value, std::string_view rule) {
  throw core::UsageError(
      "The environment variables {}={} and {}={} contradict each other: {}. Start all processes with one "
      "launcher, or correct what sets them.",
      name, value, other, other_value, rule);
}

void check(const Variables& variables, const Environment& place) {
  if (place.rank >= place.world_size) {
    refuse(variables.rank, place.rank, variables.world_size, place.world_size,
           "a rank is below the number of processes");
  }
  if (place.local_rank > place.rank) {
    refuse(variables.local_rank, place.local_rank, variables.rank, place.rank,
           "a rank is at least as large as the local rank, since ranks count the processes of all machines");
  }
  if (!place.local_world_size) return;
  if (*place.local_world_size > place.world_size) {
    refuse(variables.local_world_size, *place.local_world_size, variables.world_size, place.world_size,
           "one machine has no more processes than all machines together");
  }
  if (place.local_rank >= *place.local_world_size) {
    refuse(variables.local_rank, place.local_rank, variables.local_world_size, *place.local_world_size,
           "a local rank is below the number of processes of its machine");
  }
}

// Reads everything except the address; the three variables are set.
Environment read_place(const Variables& variables) {
  Environment place;
  place.launcher = variables.launcher;
  place.rank = find_number_variable(variables.rank, 0, kMaxCount).value();
  place.world_size = find_number_variable(variables.world_size, 1, kMaxCount).value();
  place.local_rank = find_number_variable(variables.local_rank, 0, kMaxCount).value();
  if (variables.local_world_size != nullptr) {
    place.local_world_size = find_number_variable(variables.local_world_size, 1, kMaxCount);
  }
  check(variables, place);
  return place;
}

void read_address(Environment& environment) {
  environment.master_address = find_variable("MASTER_ADDR").value_or(environment.master_address);
  environment.master_port =
      find_number_variable("MASTER_PORT", 1, kMaxPort).value_or(environment.master_port);
}

// If a launcher started the processes although the variables were set by hand, both must agree: otherwise
// every process could take itself for rank 0.
void check_same(const Variables& set_by_hand, const Environment& place, const Variables& other) {
  const std::string rule = fmt::format("the former was set by hand, the latter by {}", other.program);
  const std::optional<int64_t> rank = find_number_variable(other.rank, 0, kMaxCount);
  if (rank && *rank != place.rank) refuse(set_by_hand.rank, place.rank, other.rank, *rank, rule);
  const std::optional<int64_t> size = find_number_variable(other.world_size, 1, kMaxCount);
  if (size && *size != place.world_size) {
    refuse(set_by_hand.world_size, place.world_size, other.world_size, *size, rule);
  }
}

Environment read_torchrun() {
  require(kTorchrun,
          {kTorchrun.rank, kTorchrun.world_size, kTorchrun.local_rank, "MASTER_ADDR", "MASTER_PORT"});
  Environment environment = read_place(kTorchrun);
  read_address(environment);
  environment.agent_serves_store = find_variable("TORCHELASTIC_USE_AGENT_STORE") == "True";
  environment.error_file = find_variable("TORCHELASTIC_ERROR_FILE");
  // srun or mpirun may start torchrun once per machine: their ranks are then those of the agents.
  if (find_variable("TORCHELASTIC_RUN_ID")) return environment;
  if (any_is_set(kMpirun)) {
    check_same(kTorchrun, environment, kMpirun);
  } else if (find_variable("SLURM_STEP_ID")) {
    check_same(kTorchrun, environment, kSrun);
  }
  return environment;
}

void require_address(const Variables& variables, const Environment& place, std::string_view how) {
  if (find_variable("MASTER_ADDR")) return;
  throw core::UsageError(
      "{}={}, and MASTER_ADDR is not set: processes that may be on several machines find each other by the "
      "name of the machine that runs rank 0. Set it for all of them ({}), and MASTER_PORT too where port {} "
      "is taken.",
      variables.world_size, place.world_size, how, place.master_port);
}

Environment read_mpirun() {
  require(kMpirun, {kMpirun.rank, kMpirun.world_size, kMpirun.local_rank});
  Environment environment = read_place(kMpirun);
  // Inside a Slurm allocation, mpirun's daemons have Slurm ranks of their own.
  if (environment.local_world_size.value_or(1) < environment.world_size) {
    require_address(kMpirun, environment, "mpirun -x MASTER_ADDR=HOST");
  }
  read_address(environment);
  return environment;
}

// In a batch script the allocation's variables are set although srun started nothing.
bool started_by_srun() {
  return find_variable(kSrun.rank) && (find_variable("SLURM_STEP_ID") || find_variable("MASTER_ADDR"));
}

Environment read_srun() {
  require(kSrun, {kSrun.rank, kSrun.world_size, kSrun.local_rank});
  Environment environment = read_place(kSrun);
  if (environment.world_size > 1) {
    require_address(kSrun, environment,
                    "in the batch script: export MASTER_ADDR=$(scontrol show hostnames "
                    "\"$SLURM_JOB_NODELIST\" | head -n 1)");
  }
  read_address(environment);
  return environment;
}

Environment read_place_and_address() {
  if (any_is_set(kTorchrun)) return read_torchrun();
  if (any_is_set(kMpirun)) return read_mpirun();
  if (started_by_srun()) return read_srun();
  // MPICH and Intel MPI: if each process took itself for the only one, all would train the same model into
  // one directory.
  if (const auto size = find_number_variable("PMI_SIZE", 1, kMaxCount); size && *size > 1) {
    throw core::UsageError(
        "PMI_SIZE={}: several processes of an MPI whose ranks this program does not read. Start them with "
        "Open MPI's mpirun, srun or torchrun, or set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and "
        "MASTER_PORT for each (from PMI_RANK, PMI_SIZE and so on).",
        *size);
  }
  return {};
}

}  // namespace

Environment read_environment() {
  Environment environment = read_place_and_address();
  environment.elastic_agent = find_variable("TORCHELASTIC_RUN_ID").has_value();
  return environment;
}

void write_error_file(const Environment& environment, const std::string& message) noexcept {
  if (!environment.error_file) return;
  try {
    // The agent prints py_callstack if there is one, and the message only otherwise
    // (torch/distributed/elastic/multiprocessing/errors, ChildFailedError._format_failure); other readers use
    // the message.
    const nlohmann::json reason = {
        {"message",
         {{"message", message},
          {"extraInfo", {{"py_callstack", message}, {"timestamp", fmt::format("{}", std::time(nullptr))}}}}}};
    // json_text, since a message may quote bytes of a damaged file.
    core::write_text_atomically(*environment.error_file, core::json_text(reason));
  } catch (...) {
  }
}

int64_t choose_gpu(const Environment& environment, int64_t num_gpus) {
  const int64_t num_processes =
      std::max(environment.local_rank + 1, environment.local_world_size.value_or(1));
  if (num_processes <= num_gpus) return environment.local_rank;
  const std::string which =
      environment.local_world_size
          ? fmt::format("has local rank {} of {}", environment.local_rank, *environment.local_world_size)
          : fmt::format("has local rank {}", environment.local_rank);
  throw core::UsageError(
      "Rank {} {} on its machine and sees {}: each process of a machine needs a GPU of its own, that of its "
      "local rank. Start at most one process per GPU (torchrun --nproc-per-node, srun --ntasks-per-node, "
      "mpirun -N), and let every process see all GPUs of its machine (CUDA_VISIBLE_DEVICES; srun "
      "--gpus-per-node and not --gpus-per-task).",
      environment.rank, which, core::counted(num_gpus, "GPU"));
}

int64_t choose_num_threads(const Environment& environment, int64_t allowed_cores, int64_t machine_cores) {
  // In a list, the numbers after the first comma are for nested parallel regions.
  const std::string wish = find_variable("OMP_NUM_THREADS").value_or("");
  const std::optional<int64_t> wanted =
      core::parse_number<int64_t>(std::string_view(wish).substr(0, wish.find(',')));
  if (wanted && *wanted >= 1 && *wanted <= kMaxCount) return *wanted;
  const bool binds = environment.launcher == Launcher::kSlurm || environment.launcher == Launcher::kOpenMpi;
  if (binds && allowed_cores < machine_cores) return std::max<int64_t>(1, allowed_cores);
  return std::max<int64_t>(1, allowed_cores / environment.local_world_size.value_or(1));
}

}  // namespace ssgpt::parallel
