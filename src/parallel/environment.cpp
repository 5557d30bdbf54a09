#include "parallel/environment.h"

#include "core/error.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace ssgpt::parallel {
namespace {

struct Launcher {
  const char* name;
  const char* rank;
  const char* world_size;
  const char*
      marker;  // set in what this launcher starts; its world size alone may also be set by a batch allocation
};

constexpr std::array kLaunchers = {
    Launcher{"torchrun", "RANK", "WORLD_SIZE", "WORLD_SIZE"},
    Launcher{"srun", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID"},
    Launcher{"mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"},
};

int64_t read_number(const char* name, const char* launcher) {
  const char* text = std::getenv(name);
  if (text == nullptr) {
    throw core::UsageError(
        "The environment of {} is incomplete: {} is not set. Start all processes with the launcher, or "
        "unset its variables to train in one process.",
        launcher, name);
  }
  const std::string_view view(text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size() || value < 0) {
    throw core::UsageError("The environment variable {}={} is not a whole number of at least 0.", name, text);
  }
  return value;
}

}  // namespace

Environment read_environment() {
  Environment environment;
  environment.elastic_agent = std::getenv("TORCHELASTIC_RUN_ID") != nullptr;
  for (const Launcher& launcher : kLaunchers) {
    if (std::getenv(launcher.marker) == nullptr && std::getenv(launcher.rank) == nullptr) continue;
    if (std::string_view(launcher.name) == "srun" && std::getenv(launcher.marker) == nullptr) continue;
    environment.rank = read_number(launcher.rank, launcher.name);
    environment.world_size = read_number(launcher.world_size, launcher.name);
    if (environment.world_size < 1 || environment.rank >= environment.world_size) {
      throw core::UsageError(
          "{}={} and {}={} contradict each other: a rank is below the number of processes.", launcher.rank,
          environment.rank, launcher.world_size, environment.world_size);
    }
    break;
  }
  if (environment.world_size > 1) {
    throw core::UsageError(
        "{} processes were started, and training in several processes is not available in this build: start "
        "one.",
        environment.world_size);
  }
  return environment;
}

}  // namespace ssgpt::parallel
