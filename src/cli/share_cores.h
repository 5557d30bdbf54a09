// The cores of a machine shared out among the processes that a launcher started there.
#pragma once

#include "parallel/environment.h"

namespace ssgpt::cli {

// Sets the number of threads that this process computes with (parallel::choose_num_threads), before it
// computes anything. Without a launcher LibTorch's own choice stays.
void share_cores(const parallel::Environment& environment);

}  // namespace ssgpt::cli
