// Statistics of a model's attention by position in a window, up to windows far longer than those of training:
// whether attention fades as the context grows.
#pragma once

#include "evaluation/position.h"
#include "report/attention_values.h"

#include <cstdint>
#include <span>

namespace ssgpt::evaluation {

// For every layer and head, means over the queries of each bin and over the windows that begin at the tokens
// `windows`, as returned by choose_windows(): one or more. Query t of a window attends to its t + 1 tokens up
// to t; in a model with document masking to fewer, and the first token is that of its document. Computed in
// fp32 from the queries and keys as the model rounds them, in blocks of queries
// (model::fill_attention_statistics), whose size only affects the rounding of sums; accumulated in fp64. The
// means over heads have the windows as trials. Values that are not finite are passed on. The model needs the
// memory of one batch. Throws core::InputError for a token id outside the vocabulary.
report::AttentionValues attention_by_position(model::GPT& model, const data::TokenSource& source,
                                              std::span<const int64_t> windows,
                                              const PositionRequest& request);

}  // namespace ssgpt::evaluation
