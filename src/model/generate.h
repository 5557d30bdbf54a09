// New tokens after a prompt: decoding with a cache, and sampling. Knows nothing of text.
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
  int64_t max_tokens = 200;           // of each sample
  int64_t num_samples = 1;            // decoded as one batch
  std::optional<int64_t> stop_token;  // a sample ends with it
};

struct GeneratedSample {
  std::vector<int64_t> tokens;  // without the prompt; with the stop token where it came
  bool stopped = false;         // by the stop token
};

struct Generation {
  std::vector<GeneratedSample> samples;
  double prompt_seconds = 0.0;  // reading the prompt, up to the first logits
  double decode_seconds = 0.0;  // all that followed
};

// Called with each new token: the number of its sample, from 0, and the token.
using OnToken = std::function<void(size_t sample, int64_t token)>;

// The most new tokens that can follow a prompt of this length: with a learned p_n, what its entries allow
// (the last token is not read again, so one more than there is room for), else no limit.
std::optional<int64_t> most_new_tokens(const GPTSpec& spec, int64_t prompt_length);

// Sample i is a function of the model, the prompt, the sampling options, the seed and i: neither the number
// of samples nor that of threads changes it. The prompt holds at least one token, all below the vocabulary's
// size. Throws core::RunError where the logits are not finite, and what `on_token` throws.
Generation generate(const GPT& gpt, std::span<const int64_t> prompt, const GenerationOptions& options,
                    const OnToken& on_token = {});

}  // namespace ssgpt::model
