// The model one token after the other: keys and values of earlier positions are kept, so that a new token
// costs the products of one row. Positions are absolute: rotary angles and the n of the row scale are those
// of the full forward. Shapes: B sequences, T time, C capacity, D hidden, N heads, H head dim, V vocabulary.
#pragma once

#include "model/gpt.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// What of its attention the last token of each sequence pays to some tokens of it.
struct AttentionWatch {
  struct Tokens {
    int64_t first = 0;  // counted from the front of the sequence
    int64_t count = 0;
  };
  std::vector<Tokens> tokens;  // of each sequence, among those that its last token sees
  at::Tensor masses = {};      // =: fp32 (L, B, N) on the host, the sum of the weights on these tokens
};

class Decoder {
 public:
  // Room for `batch` sequences of `capacity` tokens; all memory is allocated here but for that of prefill().
  // Reads the weights of `gpt`, which must outlive it, at each call. The capacity may exceed the windows that
  // the model was trained with, except with a learned p_n, which has no entry beyond them.
  Decoder(const GPT& gpt, int64_t batch, int64_t capacity);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  int64_t batch() const;
  int64_t capacity() const;
  int64_t length() const;  // tokens that each sequence holds

  // Appends the same tokens to all sequences, which must be equal so far; computed once. A long prompt is
  // read in pieces, and may be given in several calls. Returns the logits after the last token, fp32 (B, V):
  // the decoder's memory, overwritten by the next call.
  at::Tensor prefill(std::span<const int64_t> tokens);

  // Appends one token to each sequence; tokens has B of them. Returns the logits after it, as prefill() does.
  // What a sequence gets does not depend, bit for bit, on the others, their number, or the number of threads.
  at::Tensor step(std::span<const int64_t> tokens);

  // Appends to each sequence tokens of its own, as many to all: `tokens` holds one row after the other, (B,
  // T). Long rows are read in the pieces of prefill(). Returns the logits after the last of each, as step()
  // does, and with its independence of the other sequences on a CPU in fp32.
  // `watch`, where given, is filled in for the last of them: its weights alone are computed, in fp32, beside
  // the attention, and change nothing in it.
  at::Tensor prefill_each(std::span<const int64_t> tokens, AttentionWatch* watch = nullptr);

  // Like prefill_each(), but with the logits after every token: fp32 (B, T, V), the caller's own. For the few
  // tokens of a continuation: all logits are made at once.
  at::Tensor score_each(std::span<const int64_t> tokens);

  // A state of all sequences to come back to: return_to() forgets what was appended since `mark`, so that
  // several continuations can be read after one prompt. A mark is of this decoder, and of what it still
  // holds: after a return to an earlier mark those made later no longer count.
  struct Mark {
    int64_t length = 0;
    bool equal_sequences = true;
    std::vector<int32_t> num_keys;
    std::vector<bool> document_ends;
  };
  Mark mark() const;
  void return_to(const Mark& mark);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::model
