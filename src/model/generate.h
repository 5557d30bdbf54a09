// Generates tokens after a prompt: decoding with a KV cache, and sampling. Knows nothing of text.
#pragma once

#include "model/gpt.h"
#include "model/sampling.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace ssgpt::model {

struct GenerationOptions {
  SamplingOptions sampling;
  uint64_t seed = 1;
  int64_t max_tokens = 200;           // per sample
  int64_t num_samples = 1;            // decoded as one batch
  std::optional<int64_t> stop_token;  // ends a sample
};

struct GeneratedSample {
  std::vector<int64_t> tokens;  // without the prompt; including the stop token if it occurred
  bool stopped = false;         // at the stop token
};

struct Generation {
  std::vector<GeneratedSample> samples;
  double prompt_seconds = 0.0;  // processing the prompt, up to the first logits
  double decode_seconds = 0.0;  // everything after that
};

// Called for each new token with the index of its sample, from 0, and the token.
using OnToken = std::function<void(size_t sample, int64_t token)>;

// Maximum number of new tokens after a prompt of this length: with a learned p_n, limited by its entries (one
// more than fit, because the last token is not read again); otherwise nullopt, no limit.
std::optional<int64_t> most_new_tokens(const GPTSpec& spec, int64_t prompt_length);

// Sample i is a function of the model, the prompt, the sampling options, the seed and i; it does not depend
// on the number of samples or threads. The prompt has at least one token, all below the vocabulary size.
// Throws core::RunError if the logits are not finite, and propagates exceptions of `on_token`.
Generation generate(const GPT& gpt, std::span<const int64_t> prompt, const GenerationOptions& options,
                    const OnToken& on_token = {});

}  // namespace ssgpt::model
