// Token shards for measurements: no operation of a step takes a time that depends on which tokens it reads.
#pragma once

#include "data/token_source.h"

#include <cstdint>

namespace ssgpt::bench {

// A shard of uniformly random ids below `vocab_size`, on the disk of the temporary directory, where its name
// is removed before this returns. Throws core::RunError where that directory cannot be written.
data::TokenSource random_tokens(int64_t num_tokens, int64_t vocab_size);

}  // namespace ssgpt::bench
