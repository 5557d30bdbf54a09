// Mean loss by position in a window, up to windows far longer than those of training.
#pragma once

#include "data/token_source.h"
#include "model/gpt.h"
#include "report/measured.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace ssgpt::evaluation {

struct PositionRequest {
  // Rising, above 0: the bins are the positions [0, e0), [e0, e1) and so on. The last is the length of the
  // windows, N: the model's sequence_length or less.
  std::vector<int64_t> bin_ends;
  std::optional<int64_t> max_windows =
      {};                  // spread evenly over those that there are; all where it is left out
  int64_t batch_size = 0;  // windows at a time; 0: about 8,192 tokens
  // Set: a window is the first N + 1 tokens of a document that has as many, its end, which this id marks,
  // included. Else windows are consecutive stretches that do not overlap: window w predicts tokens w N + 1
  // ... (w + 1) N.
  std::optional<int64_t> document_token_id = {};
  // Told after each batch how many windows are done, and of how many. What it throws ends the evaluation.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

// The first tokens of the request's windows. Throws core::InputError where there is no window that long,
// naming how many tokens there are, and for an id beyond the vocabulary where it is met.
std::vector<int64_t> choose_windows(const data::TokenSource& source, const PositionRequest& request,
                                    int64_t vocab_size);

// The mean cross-entropy in nats a token of each bin over the windows that begin at these tokens, as
// choose_windows() gives them: one or more. Trial i is that of window i, which is the same text for every
// model of the same vocabulary. Position t is predicted from the t + 1 tokens of its window up to it.
// In a model whose attention stops at the ends of documents it sees fewer, and n counts from its document's
// start; the position is still that in the window. Sums are in fp64, and in fp32 on a CPU no bit depends on
// batch_size. The memory of the model's work is that of one batch. Throws core::InputError for an id beyond
// the vocabulary.
std::vector<report::PointValue> losses_by_position(model::GPT& model, const data::TokenSource& source,
                                                   std::span<const int64_t> windows,
                                                   const PositionRequest& request);

// The points of these bins.
std::vector<report::Point> points_of_bins(const std::vector<int64_t>& bin_ends);

// T/4, T/2, T, 2 T, 4 T and so on below max_length, and max_length; T is the trained length. Both above 0.
std::vector<int64_t> default_bin_ends(int64_t trained_length, int64_t max_length);

// Bins of `width` positions; the last may be shorter. Both above 0.
std::vector<int64_t> equal_bin_ends(int64_t width, int64_t max_length);

}  // namespace ssgpt::evaluation
