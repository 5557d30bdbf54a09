// Measured attention statistics of one model, point by point. Plain numbers, whatever their source.
#pragma once

#include "report/measured.h"

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

namespace ssgpt::report {

// Figures of a query that attends to n keys with the weights a_1 ... a_n.
enum class AttentionFigure {
  kEntropy,   // - sum over j of a_j log a_j, in nats: 0 if one key has all the weight, log n if it is uniform
  kLargest,   // the largest a_j
  kFirst,     // a_1, of the first token that the query sees
  kRowScale,  // factor on its scores q k / sqrt(H): c(n), and what an evaluation changed
};
inline constexpr std::array kAttentionFigures = {AttentionFigure::kEntropy, AttentionFigure::kLargest,
                                                 AttentionFigure::kFirst, AttentionFigure::kRowScale};
inline constexpr size_t kNumAttentionFigures = kAttentionFigures.size();
std::string_view key(AttentionFigure figure);    // "entropy", "largest_weight", "first_token_weight", ...
std::string_view title(AttentionFigure figure);  // for users: "entropy of attention, nats"

// In the order of kAttentionFigures.
template <typename T>
using PerAttentionFigure = std::array<T, kNumAttentionFigures>;

// Means over the queries of a point and over the windows.
struct AttentionLayer {
  PerAttentionFigure<std::vector<PointValue>> mean;  // over all heads; a trial is a window
  std::vector<PerAttentionFigure<std::vector<double>>> heads;
};

struct AttentionValues {
  std::vector<AttentionLayer> layers;                // in order; empty: attention was not measured
  PerAttentionFigure<std::vector<PointValue>> mean;  // over all layers and heads; a trial is a window
  // The values for uniform attention to all n keys, over the same queries: log n, and 1 / n for both weights.
  std::vector<double> even_entropy, even_weight;
};

}  // namespace ssgpt::report
