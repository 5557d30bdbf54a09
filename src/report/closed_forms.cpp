#include "report/closed_forms.h"

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "core/version.h"
#include "report/csv.h"
#include "report/drawn_files.h"
#include "report/text_table.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

constexpr size_t kColumnsOfForms = 7;

// Indices of at most kColumnsOfForms of `count` places, including the first and the last.
std::vector<size_t> spread_indices(size_t count) {
  std::vector<size_t> indices;
  const size_t columns = std::min(count, kColumnsOfForms);
  for (size_t i = 0; i < columns; ++i)
    indices.push_back(columns == 1 ? 0 : (i * (count - 1) + (columns - 1) / 2) / (columns - 1));
  return indices;
}

// Indices of the powers of ten, if there are any, else spread evenly over all.
std::vector<size_t> shown_lengths(const std::vector<int64_t>& lengths) {
  const auto is_power_of_ten = [](int64_t n) {
    while (n > 1 && n % 10 == 0) n /= 10;
    return n == 1;
  };
  std::vector<size_t> powers;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (is_power_of_ten(lengths[i])) powers.push_back(i);
  }
  const bool are_enough = lengths.size() > kColumnsOfForms && powers.size() > 2;
  return are_enough && powers.size() <= kColumnsOfForms ? powers : spread_indices(lengths.size());
}

// One row per curve: its first cells, followed by its values at the places.
struct FormRow {
  std::vector<std::string> names;
  std::vector<std::string> values;
};

std::string form_table(const FormRow& head, const std::vector<FormRow>& rows) {
  std::vector<TextTable::Align> columns(head.names.size(), TextTable::Align::kLeft);
  columns.resize(head.names.size() + head.values.size(), TextTable::Align::kRight);
  TextTable table(std::move(columns));
  const auto add_row = [&](const FormRow& row) {
    std::vector<std::string> cells = row.names;
    cells.insert(cells.end(), row.values.begin(), row.values.end());
    table.add(std::move(cells));
  };
  add_row(head);
  table.add_rule();
  for (const FormRow& row : rows) add_row(row);
  return table.text(/*indent=*/2);
}

std::string fading_table(const ClosedForms& forms) {
  const std::vector<size_t> places = shown_lengths(forms.lengths);
  FormRow head{.names = {"attention", "c(n)"}, .values = {}};
  for (const size_t i : places) head.values.push_back(fmt::format("n = {}", forms.lengths[i]));
  std::vector<FormRow> rows;
  for (const FadingCurve& curve : forms.fading) {
    FormRow& row = rows.emplace_back(FormRow{.names = {curve.attention, curve.row_scale}, .values = {}});
    for (const size_t i : places) row.values.push_back(fmt::format("{:.6f}", curve.weights[i]));
  }
  return form_table(head, rows);
}

std::string focus_table(const ClosedForms& forms) {
  const std::vector<size_t> places = spread_indices(forms.maxima.size());
  FormRow head{.names = {"attention", "c(n)", "n"}, .values = {}};
  for (const size_t i : places) head.values.push_back(fmt::format("z = {:.4g}", forms.maxima[i]));
  std::vector<FormRow> rows;
  for (const FocusCurve& curve : forms.focus) {
    FormRow& row = rows.emplace_back(
        FormRow{.names = {curve.attention, curve.row_scale, fmt::format("{}", curve.n)}, .values = {}});
    for (const size_t i : places) row.values.push_back(fmt::format("{:.6f}", curve.weights[i]));
  }
  return form_table(head, rows);
}

}  // namespace

std::string to_table(const ClosedForms& forms) {
  return fmt::format(
      "s = {}, b = {}, T = {}, a = {}, f = {}, where a kind has one. c(n), which multiplies the logits, is "
      "computed by the model's own code.\n"
      "\nThe weight of one logit at {} among n - 1 at {}\n{}"
      "\nThe weight of one logit at z among n - 1 spread evenly from 0 to 1. With c(n) = s log n it nears 1 "
      "as n grows\n"
      "where z is above the second largest by more than 1/s (above {:.4g}), and 0 where it is above the "
      "least by less\n"
      "than 1/s (below {:.4g})\n{}",
      forms.scale, forms.bias, forms.constants.trained_length, forms.constants.attn_scale,
      forms.constants.floor_scale, forms.high, forms.low, fading_table(forms), 1.0 + 1.0 / forms.scale,
      1.0 / forms.scale, focus_table(forms));
}

std::string to_json(const ClosedForms& forms) {
  nlohmann::ordered_json object = {{"format", "ssgpt-closed-forms"},
                                   {"version", 1},
                                   {"scale", forms.scale},
                                   {"bias", forms.bias},
                                   {"trained_length", forms.constants.trained_length},
                                   {"attn_scale", forms.constants.attn_scale},
                                   {"floor_scale", forms.constants.floor_scale},
                                   {"program_version", core::version()},
                                   {"revision", core::git_revision()}};
  nlohmann::ordered_json fading = {{"high", forms.high}, {"low", forms.low}, {"lengths", forms.lengths}};
  fading["curves"] = nlohmann::ordered_json::array();
  for (const FadingCurve& curve : forms.fading) {
    fading["curves"].push_back({{"attention", curve.attention},
                                {"row_scale", curve.row_scale},
                                {"factors", curve.factors},
                                {"weights", curve.weights}});
  }
  nlohmann::ordered_json focus = {{"spread_below", 1.0 / forms.scale},
                                  {"focused_above", 1.0 + 1.0 / forms.scale},
                                  {"maxima", forms.maxima}};
  focus["curves"] = nlohmann::ordered_json::array();
  for (const FocusCurve& curve : forms.focus) {
    focus["curves"].push_back({{"attention", curve.attention},
                               {"row_scale", curve.row_scale},
                               {"n", curve.n},
                               {"factor", curve.factor},
                               {"weights", curve.weights}});
  }
  object["fading"] = std::move(fading);
  object["focus"] = std::move(focus);
  return core::json_text(object, 2) + "\n";
}

std::string to_csv(const ClosedForms& forms) {
  std::string text = "form,attention,n,z_max,factor,weight\n";
  for (const FadingCurve& curve : forms.fading) {
    for (size_t i = 0; i < forms.lengths.size(); ++i) {
      text += fmt::format("fading,{},{},{},{},{}\n", curve.attention, forms.lengths[i],
                          csv_number(forms.high), csv_number(curve.factors[i]), csv_number(curve.weights[i]));
    }
  }
  for (const FocusCurve& curve : forms.focus) {
    for (size_t i = 0; i < forms.maxima.size(); ++i) {
      text += fmt::format("focus,{},{},{},{},{}\n", curve.attention, curve.n, csv_number(forms.maxima[i]),
                          csv_number(curve.factor), csv_number(curve.weights[i]));
    }
  }
  return text;
}

void write_files(const ClosedForms& forms, const std::filesystem::path& directory) {
  core::create_writable_directory(directory);
  remove_drawn_files(directory, {"closed_forms.png"});
  core::write_text_atomically(directory / "closed_forms.csv", to_csv(forms));
  core::write_text_atomically(directory / "table.txt", core::printable(to_table(forms)));
  core::write_text_atomically(directory / "closed_forms.json", to_json(forms));
}

}  // namespace ssgpt::report
