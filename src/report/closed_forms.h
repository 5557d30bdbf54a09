// The paper's two closed forms (arXiv 2501.19399, figures 1 and 3) with the row scales that the program
// computes: as text, JSON and CSV.
#pragma once

#include "config/attention_kind.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::report {

// One kind of attention at each n: what becomes of one logit at `high` among n - 1 at `low`.
struct FadingCurve {
  std::string attention;        // the kind's name
  std::string row_scale;        // c as a formula: "s log n"
  std::vector<double> factors;  // c(n)
  std::vector<double> weights;  // of the logit at `high`
};

// One kind of attention and one n: what becomes of a logit at each of the maxima, among n - 1 spread evenly
// from 0 to 1.
struct FocusCurve {
  std::string attention;
  std::string row_scale;
  int64_t n = 0;
  double factor = 0.0;          // c(n)
  std::vector<double> weights;  // of that logit
};

struct ClosedForms {
  double scale = 0.0;                   // s, of the kinds that have one
  double bias = 0.0;                    // b, likewise
  config::PositionConstants constants;  // T, a and f, likewise
  double high = 0.0;
  double low = 0.0;
  std::vector<int64_t> lengths;  // each n of the fading curves, rising
  std::vector<FadingCurve> fading;
  std::vector<double> maxima;  // of the focus curves, rising
  std::vector<FocusCurve> focus;
};

// The two tables, with some of the n and of the maxima where there are many.
std::string to_table(const ClosedForms& forms);

// One object, indented. Numbers read back to the same double.
std::string to_json(const ClosedForms& forms);

// One row for each curve and place: form ("fading" or "focus"), attention, n, z_max, c(n), weight.
std::string to_csv(const ClosedForms& forms);

// Writes closed_forms.json, closed_forms.csv and table.txt into `directory`, which is made where it is
// missing; each file appears whole or not at all. What scripts/report.py drew there from earlier numbers is
// removed first. Throws core::RunError.
void write_files(const ClosedForms& forms, const std::filesystem::path& directory);

}  // namespace ssgpt::report
