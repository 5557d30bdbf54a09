// The paper's two closed forms (arXiv 2501.19399, figures 1 and 3) with the row scales that the program
// computes: as text, JSON and CSV.
#pragma once

#include "config/attention_kind.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::report {

// For one attention kind, at each n: one logit at `high` among n - 1 at `low`.
struct FadingCurve {
  std::string attention;        // the kind's name
  std::string row_scale;        // c as a formula: "s log n"
  std::vector<double> factors;  // c(n)
  std::vector<double> weights;  // softmax weight of the logit at `high`
};

// For one attention kind and one n: a logit at each of the maxima among n - 1 spread evenly from 0 to 1.
struct FocusCurve {
  std::string attention;
  std::string row_scale;
  int64_t n = 0;
  double factor = 0.0;          // c(n)
  std::vector<double> weights;  // softmax weight of that logit
};

struct ClosedForms {
  double scale = 0.0;                   // s, for the kinds that have one
  double bias = 0.0;                    // b, likewise
  config::PositionConstants constants;  // T, a and f, likewise
  double high = 0.0;
  double low = 0.0;
  std::vector<int64_t> lengths;  // each n of the fading curves, ascending
  std::vector<FadingCurve> fading;
  std::vector<double> maxima;  // of the focus curves, ascending
  std::vector<FocusCurve> focus;
};

// The two tables, with a selection of the n and of the maxima if there are many.
std::string to_table(const ClosedForms& forms);

// One indented object. Numbers read back to the same double.
std::string to_json(const ClosedForms& forms);

// One row per curve and place: form ("fading" or "focus"), attention, n, z_max, c(n), weight.
std::string to_csv(const ClosedForms& forms);

// Writes closed_forms.json, closed_forms.csv and table.txt into `directory`, which is created if missing;
// each file appears complete or not at all. First removes what scripts/report.py drew there from earlier
// numbers. Throws core::RunError.
void write_files(const ClosedForms& forms, const std::filesystem::path& directory);

}  // namespace ssgpt::report
