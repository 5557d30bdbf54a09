#include "parallel/engine.h"

#include <cstdlib>

#include <c10/util/Logging.h>

namespace ssgpt::parallel {

void configure_engine() {
  // What the engine warns of, such as an address without a name, this program says itself where it matters.
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
  c10::initLogging();
  // Nobody here reads the record, which costs a little with each collective. It is one for all process groups
  // of a process, and takes a group in without its lock: two groups in two threads, as where ranks are
  // threads, may crash it. The engine's older name of the variable is the stronger one.
  setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/0);
  // The watch of this program ends a process whose peers are gone; the engine's own would first spend minutes
  // on a dump.
  setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", /*overwrite=*/0);
  // Where NCCL reports an error the engine ends the process; finding names for a stack first takes long.
  setenv("TORCH_NCCL_LOG_CPP_STACK_ON_UNCLEAN_SHUTDOWN", "0", /*overwrite=*/0);
}

}  // namespace ssgpt::parallel
