#include "parallel/engine.h"

#include <cstdlib>

#include <c10/util/Logging.h>

namespace ssgpt::parallel {

void configure_engine() {
  // What c10d warns of, such as an address without a name, this program reports itself where it matters.
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
  c10::initLogging();
  // Nobody here reads the flight recorder, which costs a little per collective. It is shared by all process
  // groups of a process and registers a group without holding its lock, so two groups in two threads (ranks
  // as threads) may crash it. c10d prefers the variable's older name.
  setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/0);
  // Heartbeat ends a process whose peers are gone; c10d's own watchdog would first spend minutes on a dump.
  setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", /*overwrite=*/0);
  // On an NCCL error c10d ends the process; symbolising a stack first takes long.
  setenv("TORCH_NCCL_LOG_CPP_STACK_ON_UNCLEAN_SHUTDOWN", "0", /*overwrite=*/0);
}

}  // namespace ssgpt::parallel
