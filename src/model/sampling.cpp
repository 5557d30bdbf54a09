#include "model/sampling.h"

#include "core/check.h"
#include "core/error.h"

#include <algorithm>
#include <cmath>

namespace ssgpt::model {
namespace {

// Index of the largest logit; the first among equals.
size_t find_largest(std::span<const float> logits) {
  SSGPT_CHECK(!logits.empty(), "no logits");
  size_t largest = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) {
      throw core::RunError(
          "The model's logits are not finite: its weights are damaged or its training diverged. Take an "
          "earlier checkpoint.");
    }
    if (logits[i] > logits[largest]) largest = i;
  }
  return largest;
}

// More likely first, then lower id, so that the order is a function of the logits alone.
constexpr auto kLikelier = [](const auto& a, const auto& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
};

template <typename Candidates>
double sum_of_weights(const Candidates& candidates) {
  double sum = 0.0;
  for (const auto& candidate : candidates) sum += candidate.weight;
  return sum;
}

}  // namespace

int64_t TokenSampler::choose(std::span<const float> logits, double uniform) {
  const size_t largest = find_largest(logits);
  if (options_.temperature == 0.0) return static_cast<int64_t>(largest);
  candidates_.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const double below = static_cast<double>(logits[i]) - static_cast<double>(logits[largest]);
    candidates_[i] = {std::exp(below / options_.temperature), static_cast<int64_t>(i)};
  }
  keep_top_k();
  keep_top_p();
  const double target = uniform * sum_of_weights(candidates_);
  double cumulative = 0.0;
  int64_t chosen = static_cast<int64_t>(largest);  // in case rounding puts the target above the total
  for (const Candidate& candidate : candidates_) {
    cumulative += candidate.weight;
    if (candidate.weight > 0.0) chosen = candidate.token;
    if (cumulative > target) break;
  }
  return chosen;
}

void TokenSampler::keep_top_k() {
  const auto count = static_cast<size_t>(options_.top_k);
  if (count == 0 || count >= candidates_.size()) return;
  const auto end = candidates_.begin() + options_.top_k;
  std::nth_element(candidates_.begin(), end, candidates_.end(), kLikelier);
  candidates_.erase(end, candidates_.end());
  std::sort(candidates_.begin(), candidates_.end(), kLikelier);
}

void TokenSampler::keep_top_p() {
  if (options_.top_p >= 1.0) return;
  const double total = sum_of_weights(candidates_);
  // Avoids sorting the vocabulary: all tokens below this weight together hold less than 1 - p, so none of
  // them is among the fewest that hold p.
  const double least = (1.0 - options_.top_p) * total / static_cast<double>(candidates_.size());
  std::erase_if(candidates_, [least](const Candidate& candidate) { return candidate.weight < least; });
  std::sort(candidates_.begin(), candidates_.end(), kLikelier);
  double cumulative = 0.0;
  size_t count = 0;
  while (count < candidates_.size() && (count == 0 || cumulative < options_.top_p * total)) {
    cumulative += candidates_[count].weight;
    ++count;
  }
  candidates_.resize(count);
}

}  // namespace ssgpt::model
