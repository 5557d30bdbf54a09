// What the commands below `ssgpt evaluate` share: the options that say how a model is changed on reading, and
// what is done with a comparison.
#pragma once

#include "config/attention_kind.h"
#include "evaluation/compare_models.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

// --rope-theta, --yarn, --row-scale, --swap-attention, --apply-to and --extend-pn as typed.
struct ChangeArguments {
  std::string rope_theta;
  std::optional<double> yarn;
  std::string row_scale;
  std::string swap_attention;
  std::vector<std::string> apply_to;
  std::string extend_pn;
  std::vector<const CLI::Option*> options;  // those above, to tell an empty value from none
};

// `lists`: --rope-theta, --row-scale and --swap-attention take several values, with commas between them, and
// --apply-to says which variants are changed.
void add_change_options(CLI::App& command, ChangeArguments& arguments, bool lists);

// Throws core::UsageError for an empty value, one that is no number or no kind of attention, and without
// `lists` for more than one value.
evaluation::ChangeLists parse_changes(const ChangeArguments& arguments, bool lists);

// "1,2,4" as whole numbers above 0, or from `least` on; `option` stands in messages. Throws core::UsageError.
std::vector<int64_t> parse_counts(std::string_view option, const std::string& text, int64_t least = 1);

// "softmax,ssmax" as kinds of attention; `option` stands in messages. Throws core::UsageError.
std::vector<config::AttentionKind> parse_kinds(std::string_view option, const std::string& text);

// What a comparison of models takes beside what it measures.
struct ComparisonArguments {
  std::vector<std::string> checkpoints;
  std::string baseline;
  ChangeArguments changes;
  evaluation::Placement placement = {.device = config::Device::kAuto, .bfloat16 = false};
  bool json = false;
  std::string out;
};

void add_comparison_options(CLI::App& command, ComparisonArguments& arguments);
evaluation::ModelOptions model_options(const ComparisonArguments& arguments);

// Runs `compare` with a progress of the models on stderr, writes what --out asks for and prints the result. A
// stop that was asked for leaves as Stopped, with nothing written or printed. `data`: the globs of --data.
// Throws core::UsageError where --out would write over what they name, and what `compare` throws.
void print_comparison(const ComparisonArguments& arguments, const std::vector<std::string>& data,
                      const std::function<report::Evaluation(const evaluation::Progress& progress)>& compare);

// evaluation::compare_by_position or compare_attention.
using CompareOnWindows = report::Evaluation (*)(const evaluation::PositionOptions& options,
                                                const evaluation::Progress& progress);

// Makes `command` a comparison of models on windows of text: its options say which windows, in which bins of
// positions, and what add_comparison_options() adds; print_comparison() runs `compare` with them.
void add_window_comparison(CLI::App& command, CompareOnWindows compare);

}  // namespace ssgpt::cli
