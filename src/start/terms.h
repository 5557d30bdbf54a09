// What all ranks must agree on before they train together, and how they check it: in one round, rank 0 posts
// its terms and every other rank confirms that its own are the same.
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
  std::string arithmetic;  // ranks that differ in it round differently: "AVX512", "GPU 9.0"
  config::Config config;   // resolved
  int64_t step = 0;        // finished updates when the run begins
  std::string run_id;
  std::string run_directory;  // canonical, as shown in messages
  std::string training_fingerprint;
  std::string validation_fingerprint;                    // empty: no validation
  std::optional<kernels::ProductChoices> products = {};  // rank 0's choices, which all ranks use
};

// Returns the newest valid checkpoint of the run in `directory`, on every rank; nullopt if it has none at
// all. Only rank 0 looks for it, since that takes reading every byte of a checkpoint. Called on all ranks.
// Throws as checkpoint::find_newest_valid does, on rank 0.
std::optional<run::Checkpoint> find_newest_together(parallel::Exchange& exchange,
                                                    const run::RunDirectory& directory);

Terms terms_of(const Start& start);

// Called on rank 0, for the other ranks.
void post_terms(parallel::Exchange& exchange, const Terms& terms);

// Called on the other ranks: waits for rank 0's terms and returns them. Throws core::UsageError if rank 0
// runs another build, whose terms may mean something else; core::RunError if the store's text does not have
// their form.
Terms read_terms(parallel::Exchange& exchange);

// Checksum of all the terms, 32 hexadecimal digits. The ranks compare it by a collective, since anyone who
// can reach the store's port can write other terms into the store.
std::string checksum_of(const Terms& terms);

// Differences between two configs, one line per key: "optimizer.lr: 0.003 on rank 0, 0.004 here".
std::vector<std::string> config_differences(const config::Config& of_rank_zero, const config::Config& own);

// Differences of this rank's terms from those of rank 0, one line each.
std::vector<std::string> differences(const Terms& of_rank_zero, const Terms& own);

}  // namespace ssgpt::start
