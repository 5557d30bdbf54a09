// What a run reads: training and validation tokens and the tokenizer, checked against the config.
#pragma once

#include "config/config.h"
#include "data/loader.h"
#include "data/token_source.h"

#include <cstdint>
#include <optional>

namespace ssgpt::train {

struct DataSources {
  data::TokenSource training;
  std::optional<data::TokenSource> validation;
  std::optional<int64_t> document_token_id;  // set where attention must not cross documents
  int64_t num_windows = 0;                   // of training
  int64_t validation_windows = 0;            // that one validation reads
};

// Opens what config.data names. Throws core::InputError for files that are missing or not what they should
// be, data shorter than a window, or a tokenizer whose vocabulary exceeds the model's.
DataSources open_data(const config::Config& config);

// What the loader of one rank hands out from the step behind `first_step` on: its share of each step's
// samples, which are those that one process would read. The global batch divides among the ranks.
data::LoaderOptions loader_options(const config::Config& config, int64_t first_step, int64_t rank,
                                   int64_t num_ranks);

}  // namespace ssgpt::train
