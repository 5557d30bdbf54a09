// Shares the cores of a machine among the processes that a launcher started on it.
#pragma once

#include "parallel/environment.h"

namespace ssgpt::cli {

// Sets the number of compute threads of this process (parallel::choose_num_threads); call before computing
// anything. Without a launcher, LibTorch's default is kept.
void share_cores(const parallel::Environment& environment);

}  // namespace ssgpt::cli
