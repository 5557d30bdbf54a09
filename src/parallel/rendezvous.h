// How the processes of one start find each other in a store that may outlive them: torchrun's agent keeps its
// own over all restarts, with the keys of those that died.
#pragma once

#include "parallel/environment.h"
#include "parallel/store.h"

#include <chrono>

namespace ssgpt::parallel {

// Moves `store` to the keys of this start: rank 0 numbers it, and every other rank looks for the newest
// number until rank 0 has answered it there. What launchers count says nothing of that: each agent of
// torchrun counts the failures of its own workers alone. Every rank, once, before anything else is asked of
// the store. Rank 0 returns when all ranks have come; another may return before the rest.
//
// Throws core::RunError within about the timeout: on rank 0 where ranks are missing, naming them, or where
// another rank 0 came to the same store; on another where rank 0 did not answer it, or where the store is
// that of another run, which has this rank already or another number of ranks (at once where rank 0 serves
// it).
void join_ranks(Store& store, const Environment& environment, std::chrono::duration<double> timeout);

}  // namespace ssgpt::parallel
