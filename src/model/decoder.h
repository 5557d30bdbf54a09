// Incremental decoding with a KV cache, so that a new token costs the matmuls of a single row. Positions are
// absolute: RoPE angles and the n of the row scale equal those of the full forward. Shapes: B sequences, T
// time, C capacity, D hidden, N heads, H head dim, V vocabulary.
#pragma once

#include "model/gpt.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Attention mass that the last token of each sequence puts on a given range of its tokens.
struct AttentionWatch {
  struct Tokens {
    int64_t first = 0;  // index within the sequence
    int64_t count = 0;
  };
  std::vector<Tokens> tokens;  // per sequence, among those that its last token attends to
  at::Tensor masses = {};      // =: fp32 (L, B, N) on the host, sum of the weights on these tokens
};

class Decoder {
 public:
  // Allocates space for `batch` sequences of `capacity` tokens; only prefill() and the other functions that
  // read several tokens allocate more. Reads the weights of `gpt`, which must outlive it, at each call. The
  // capacity may exceed the training window, except with a learned p_n, which has no entries beyond it.
  Decoder(const GPT& gpt, int64_t batch, int64_t capacity);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  int64_t batch() const;
  int64_t capacity() const;
  int64_t length() const;  // tokens held per sequence

  // Appends the same tokens to all sequences, which must still be equal; computed once. A long prompt is
  // processed in chunks, and may be passed in several calls. Returns the logits after the last token, fp32
  // (B, V), in the decoder's memory, overwritten by the next call.
  at::Tensor prefill(std::span<const int64_t> tokens);

  // Appends one token to each sequence; tokens has B of them. Returns the logits after it, as prefill() does.
  // Bit for bit, a sequence's result depends neither on the other sequences nor on the number of sequences or
  // threads.
  at::Tensor step(std::span<const int64_t> tokens);

  // Appends different tokens to each sequence, the same number to all: `tokens` is (B, T), row-major. Long
  // rows are processed in the chunks of prefill(). Returns the logits after each sequence's last token, as
  // step() does, on a CPU in fp32 with the same independence of the other sequences.
  // `watch`, if given, is filled in for each sequence's last token: only that token's weights are computed,
  // in fp32, separately from the attention, which is unaffected.
  at::Tensor prefill_each(std::span<const int64_t> tokens, AttentionWatch* watch = nullptr);

  // Like prefill_each(), but returns the logits after every token: fp32 (B, T, V), owned by the caller. Meant
  // for the few tokens of a continuation: all logits are computed at once.
  at::Tensor score_each(std::span<const int64_t> tokens);

  // A state of all sequences to roll back to: return_to() forgets what was appended since `mark`, so that
  // several continuations can be read after one prompt. A mark is valid only for this decoder and only while
  // what it covers is still held: returning to an earlier mark invalidates later ones.
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
