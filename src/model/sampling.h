// The choice of the next token from its logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::model {

struct SamplingOptions {
  double temperature = 0.8;  // divides the logits; 0: the likeliest token, the lowest id where several are
  int64_t top_k = 0;         // only the k likeliest tokens; 0: all
  double top_p = 0.95;       // of those, the fewest likeliest that hold this share of the probability; 1: all
};

class TokenSampler {
 public:
  explicit TokenSampler(const SamplingOptions& options) : options_(options) {}

  // The token at `uniform`, in [0, 1), of the cumulative distribution that temperature, top k and top p, in
  // this order, leave of softmax(logits). Throws core::RunError where a logit is not finite.
  int64_t choose(std::span<const float> logits, double uniform);

 private:
  struct Candidate {
    double weight;  // e^((logit - largest) / temperature)
    int64_t token;
  };
  void keep_top_k();
  void keep_top_p();

  SamplingOptions options_;
  std::vector<Candidate> candidates_;  // kept for its memory
};

}  // namespace ssgpt::model
