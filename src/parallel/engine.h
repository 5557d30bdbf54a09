// How this program sets the engine of its collectives and of its store, c10d, before it uses it.
#pragma once

namespace ssgpt::parallel {

// Sets the environment variables that c10d reads, except those that the user has set: no warnings of its own
// (TORCH_CPP_LOG_LEVEL), no record of past collectives (TORCH_FR_BUFFER_SIZE), no dump of it on a time-out
// (TORCH_NCCL_DUMP_ON_TIMEOUT), no stack where it ends the process
// (TORCH_NCCL_LOG_CPP_STACK_ON_UNCLEAN_SHUTDOWN). Call it before the process has a second thread that reads
// its environment: setenv may move what getenv reads.
void configure_engine();

}  // namespace ssgpt::parallel
