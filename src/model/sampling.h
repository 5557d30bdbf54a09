// Samples the next token from its logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::model {

struct SamplingOptions {
  double temperature = 0.8;  // divides the logits; 0: greedy, the lowest id among equals
  int64_t top_k = 0;         // only the k most likely tokens; 0: all
  double top_p = 0.95;       // nucleus: of those, the fewest most likely tokens with this probability; 1: all
};

class TokenSampler {
 public:
  explicit TokenSampler(const SamplingOptions& options) : options_(options) {}

  // Returns the token at `uniform`, in [0, 1), of the cumulative distribution that temperature, top-k and
  // top-p, in this order, leave of softmax(logits). Throws core::RunError if a logit is not finite.
  int64_t choose(std::span<const float> logits, double uniform);

 private:
  struct Candidate {
    double weight;  // e^((logit - largest) / temperature)
    int64_t token;
  };
  void keep_top_k();
  void keep_top_p();

  SamplingOptions options_;
  std::vector<Candidate> candidates_;  // member to reuse its memory
};

}  // namespace ssgpt::model
