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
  // Ascending, above 0: the bins are the positions [0, e0), [e0, e1) and so on. The last end is the window
  // length N: at most the model's sequence_length.
  std::vector<int64_t> bin_ends;
  // Spread evenly over the available windows; nullopt: all of them.
  std::optional<int64_t> max_windows = {};
  int64_t batch_size = 0;  // in windows; 0: about 8,192 tokens
  // If set, a window is the first N + 1 tokens of a document that has as many, including its end, which this
  // id marks. Otherwise windows are consecutive stretches that do not overlap: window w predicts tokens w N +
  // 1 ... (w + 1) N.
  std::optional<int64_t> document_token_id = {};
  // Called after each batch with the windows done, and their total. An exception from it ends the evaluation.
  std::function<void(int64_t done, int64_t total)> on_progress = {};
};

// The first tokens of the request's windows. Throws core::InputError if there is no window that long, giving
// the number of tokens, and on finding a token id outside the vocabulary.
std::vector<int64_t> choose_windows(const data::TokenSource& source, const PositionRequest& request,
                                    int64_t vocab_size);

// The mean cross-entropy in nats per token for each bin, over the windows that begin at the tokens `windows`,
// as returned by choose_windows(): one or more. Trial i is window i, which is the same text for every model
// with the same vocabulary. Position t is predicted from the t + 1 tokens of its window up to it. In a model
// with document masking it sees fewer, and n counts from its document's start; the position is still that in
// the window. Sums are in fp64, and in fp32 on a CPU no bit depends on batch_size. The model needs the memory
// of one batch. Throws core::InputError for a token id outside the vocabulary.
std::vector<report::PointValue> losses_by_position(model::GPT& model, const data::TokenSource& source,
                                                   std::span<const int64_t> windows,
                                                   const PositionRequest& request);

// The points for these bins.
std::vector<report::Point> points_of_bins(const std::vector<int64_t>& bin_ends);

// T/4, T/2, T, 2 T, 4 T and so on below max_length, then max_length; T is the trained length. Both are above
// 0.
std::vector<int64_t> default_bin_ends(int64_t trained_length, int64_t max_length);

// Bins of `width` positions; the last may be shorter. Both are above 0.
std::vector<int64_t> equal_bin_ends(int64_t width, int64_t max_length);

}  // namespace ssgpt::evaluation
