// Measurements of models, point by point along an axis of context: the input of a comparison over positions
// or lengths. Plain numbers, whatever their source.
#pragma once

#include "report/lineage.h"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::report {

// A bin of positions first..last, inclusive, counted from 0 (position t is predicted from t + 1 tokens); or
// trials of one length, with first and last both equal to it, for needles at one depth.
struct Point {
  int64_t first = 0;
  int64_t last = 0;
  std::optional<int64_t> depth = {};  // for needles, in per cent of the haystack: 0 is its front
  bool operator==(const Point&) const = default;
};

// One model's value at one point.
struct PointValue {
  double mean = std::numeric_limits<double>::quiet_NaN();            // over tokens
  double standard_error = std::numeric_limits<double>::quiet_NaN();  // over trials; NaN for fewer than two
  int64_t tokens = 0;                                                // number of tokens in the mean
  // The mean over the tokens of each trial (a window, a document, a task's sequence). Trial i uses the same
  // text for every model.
  std::vector<double> trials;
};

// One figure of one model at all points.
struct MeasuredCurve {
  std::string variant;  // what it is compared as: models of one variant differ only in seed
  uint64_t seed = 0;
  std::filesystem::path checkpoint;
  Lineage lineage = {};  // what the model's training began from
  std::vector<PointValue> points;
};

}  // namespace ssgpt::report
