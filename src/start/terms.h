// What all ranks must have alike before they train together, and how they find out: one round, in which rank
// 0 says its terms and every other rank answers whether they are its own.
#pragma once

#include "config/config.h"
#include "kernels/product_choices.h"
#include "parallel/exchange.h"
#include "run/directory.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

struct Start;

struct Terms {
  std::string revision;    // of the program
  std::string arithmetic;  // what the same operations round alike on: "AVX512", "GPU 9.0"
  config::Config config;   // resolved
  int64_t step = 0;        // that the run begins after
  std::string run_id;
  std::string run_directory;  // canonical, as a message shows it
  std::string training_fingerprint;
  std::string validation_fingerprint;                    // empty: no validation
  std::optional<kernels::ProductChoices> products = {};  // rank 0's choices, which all take
};

// The newest sound checkpoint of the run in `directory`, none where it has none at all, on every rank: rank 0
// alone looks, since every byte of a checkpoint is read for it. All ranks. Throws as
// checkpoint::find_newest_valid does, on rank 0.
std::optional<run::Checkpoint> find_newest_together(parallel::Exchange& exchange,
                                                    const run::RunDirectory& directory);

Terms terms_of(const Start& start);

// Of rank 0: to the others.
void post_terms(parallel::Exchange& exchange, const Terms& terms);

// Of the others: what rank 0 posted; waits for it. Throws core::UsageError where rank 0 is another build,
// whose terms need not mean the same here; core::RunError where what the store holds is not of their form.
Terms read_terms(parallel::Exchange& exchange);

// 32 hexadecimal digits over all of the terms. The ranks compare them by a collective, since whoever reaches
// the store's port can write other terms into it.
std::string checksum_of(const Terms& terms);

// How two configs differ, a line for each key: "optimizer.lr: 0.003 on rank 0, 0.004 here".
std::vector<std::string> config_differences(const config::Config& of_rank_zero, const config::Config& own);

// How this rank's terms differ from those of rank 0, a line for each.
std::vector<std::string> differences(const Terms& of_rank_zero, const Terms& own);

}  // namespace ssgpt::start
