// How the processes of one start find each other in a store that may outlive them: torchrun's agent keeps its
// store across restarts, with the keys of dead processes.
#pragma once

#include "parallel/environment.h"
#include "parallel/store.h"

#include <chrono>

namespace ssgpt::parallel {

// Moves `store` to the keys of this start: rank 0 numbers it, and every other rank tries the newest number
// until rank 0 has answered it there. Launchers' restart counts cannot serve as that number: each agent of
// torchrun counts only the failures of its own workers. Called on every rank, once, before any other use of
// the store. Rank 0 returns when all ranks have arrived; another may return before the rest.
//
// Throws core::RunError within about the timeout: on rank 0 if ranks are missing, naming them, or if another
// rank 0 came to the same store; on another rank if rank 0 did not answer it, or if the store belongs to
// another run, which already has this rank or has another number of ranks (at once if rank 0 serves the
// store).
void join_ranks(Store& store, const Environment& environment, std::chrono::duration<double> timeout);

}  // namespace ssgpt::parallel
