// Configures c10d, the library behind the collectives and the store, before its first use.
#pragma once

namespace ssgpt::parallel {

// Sets environment variables that c10d reads, except those that the user has set: no warnings of its own
// (TORCH_CPP_LOG_LEVEL), no flight recorder (TORCH_FR_BUFFER_SIZE), no dump of it on a time-out
// (TORCH_NCCL_DUMP_ON_TIMEOUT), no stack trace when it ends the process
// (TORCH_NCCL_LOG_CPP_STACK_ON_UNCLEAN_SHUTDOWN). Call it before a second thread reads the environment:
// setenv may move what getenv returned.
void configure_engine();

}  // namespace ssgpt::parallel
