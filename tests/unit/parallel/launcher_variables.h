// The environment variables that read_environment and choose_num_threads read, set for one test.
#pragma once

#include <cstdlib>
#include <map>
#include <string>

namespace ssgpt::parallel {

using Values = std::map<std::string, std::string>;

// Exactly these launcher variables, for its lifetime.
class Variables {
 public:
  explicit Variables(const Values& values) {
    clear();
    for (const auto& [name, value] : values) setenv(name.c_str(), value.c_str(), /*overwrite=*/1);
  }
  ~Variables() { clear(); }
  Variables(const Variables&) = delete;
  Variables& operator=(const Variables&) = delete;

 private:
  static void clear() {
    for (const char* name : {"RANK",
                             "WORLD_SIZE",
                             "LOCAL_RANK",
                             "LOCAL_WORLD_SIZE",
                             "MASTER_ADDR",
                             "MASTER_PORT",
                             "TORCHELASTIC_RUN_ID",
                             "TORCHELASTIC_USE_AGENT_STORE",
                             "TORCHELASTIC_ERROR_FILE",
                             "OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_RANK",
                             "OMPI_COMM_WORLD_LOCAL_SIZE",
                             "SLURM_PROCID",
                             "SLURM_NTASKS",
                             "SLURM_LOCALID",
                             "SLURM_STEP_ID",
                             "PMI_RANK",
                             "PMI_SIZE",
                             "OMP_NUM_THREADS"}) {
      unsetenv(name);
    }
  }
};

}  // namespace ssgpt::parallel
