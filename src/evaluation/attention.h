// What a model's attention does by position in a window, up to windows far longer than those of training:
// whether it fades as the context grows.
#pragma once

#include "evaluation/position.h"
#include "report/attention_values.h"

#include <cstdint>
#include <span>

namespace ssgpt::evaluation {

// Of every layer and head the means over the queries of each bin and over the windows that begin at these
// tokens, as choose_windows() gives them: one or more. Query t of a window attends
// to its t + 1 tokens up to t; in a model whose attention stops at the ends of documents to fewer, and the
// first token is that of its document. Computed in fp32 from the queries and keys as the model rounds them,
// in blocks of queries (model::fill_attention_statistics), whose size changes the rounding of sums alone;
// added in fp64. The means over heads have the windows as trials. Values that are not finite go through. The
// memory of the model's work is that of one batch. Throws core::InputError for an id beyond the vocabulary.
report::AttentionValues attention_by_position(model::GPT& model, const data::TokenSource& source,
                                              std::span<const int64_t> windows,
                                              const PositionRequest& request);

}  // namespace ssgpt::evaluation
