#include "cli/share_cores.h"

#include <sched.h>
#include <unistd.h>

#include <ATen/Parallel.h>

namespace ssgpt::cli {

void share_cores(const parallel::Environment& environment) {
  if (environment.launcher == parallel::Launcher::kNone) return;
  const long machine = sysconf(_SC_NPROCESSORS_ONLN);
  cpu_set_t mask;
  const bool known = sched_getaffinity(0, sizeof mask, &mask) == 0;
  const int64_t allowed = known ? CPU_COUNT(&mask) : machine;
  at::set_num_threads(static_cast<int>(parallel::choose_num_threads(environment, allowed, machine)));
}

}  // namespace ssgpt::cli
