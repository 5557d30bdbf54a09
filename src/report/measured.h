// What evaluations measured of models, point by point along an axis of context: the material of a comparison
// over positions or lengths. Plain numbers; where they come from is the caller's.
#pragma once

#include "report/lineage.h"

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::report {

// A bin of positions first..last, both included, counted from 0 (position t is predicted from t + 1 tokens);
// or trials of one length, where both are that length, of needles at one depth.
struct Point {
  int64_t first = 0;
  int64_t last = 0;
  std::optional<int64_t> depth = {};  // of needles, in per cent of the haystack: 0 is its front
  bool operator==(const Point&) const = default;
};

// What one model has at one point.
struct PointValue {
  double mean = std::numeric_limits<double>::quiet_NaN();            // over tokens
  double standard_error = std::numeric_limits<double>::quiet_NaN();  // over trials; NaN for fewer than two
  int64_t tokens = 0;                                                // that the mean is over
  // The mean over the tokens of each trial (a window, a document, a task's sequence). Trial i is of the same
  // text for every model.
  std::vector<double> trials;
};

// One figure of one model at all points.
struct MeasuredCurve {
  std::string variant;  // what it is compared as: models of one variant differ in seed alone
  uint64_t seed = 0;
  std::filesystem::path checkpoint;
  Lineage lineage = {};  // what the model's training began from
  std::vector<PointValue> points;
};

}  // namespace ssgpt::report
