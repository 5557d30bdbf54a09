// Mean loss over held-out windows, either of consecutive tokens or of packed examples.
#pragma once

#include "data/packed_examples.h"
#include "data/token_source.h"
#include "model/gpt.h"
#include "parallel/communicator.h"

#include <cstdint>

namespace ssgpt::train {

struct WindowLoss {
  double loss = 0.0;     // mean cross-entropy, nats per token
  double stderr_ = 0.0;  // standard error of that mean over windows; NaN for one window
  int64_t tokens = 0;    // predicted tokens
};

// Loss over `num_windows` windows of `source`, spread evenly: window w predicts tokens w T + 1 ... (w + 1) T,
// T = the model's sequence_length. Batches of `batch_size` rows; the sum runs over windows in order, in fp64.
// Called on all ranks of the communicator, which share the batches out and obtain the same result, bit for
// bit that of a single process. Changes nothing that training uses. Throws core::InputError if the source
// holds fewer windows, or a token id outside the vocabulary.
WindowLoss mean_window_loss(model::GPT& model, const data::TokenSource& source, int64_t num_windows,
                            int64_t batch_size, parallel::Communicator& communicator);

// The same over the answers in `num_windows` windows of examples, each answer token with the same weight; the
// standard error is that of a ratio of sums over windows.
WindowLoss mean_example_loss(model::GPT& model, const data::PackedExamples& examples, int64_t num_windows,
                             int64_t batch_size, parallel::Communicator& communicator);

}  // namespace ssgpt::train
