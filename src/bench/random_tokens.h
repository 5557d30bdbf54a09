// Token shards for benchmarks: the time of a step's operations does not depend on the tokens.
#pragma once

#include "data/token_source.h"

#include <cstdint>

namespace ssgpt::bench {

// A shard of uniformly random ids below `vocab_size`, in a file in the temporary directory that is unlinked
// before this returns. Throws core::RunError if that directory is not writable.
data::TokenSource random_tokens(int64_t num_tokens, int64_t vocab_size);

}  // namespace ssgpt::bench
