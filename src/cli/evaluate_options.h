// Shared by the commands below `ssgpt evaluate`: options that change a model on loading, and the output of a
// comparison.
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

// --rope-theta, --yarn, --row-scale, --swap-attention, --apply-to and --extend-pn, as typed.
struct ChangeArguments {
  std::string rope_theta;
  std::optional<double> yarn;
  std::string row_scale;
  std::string swap_attention;
  std::vector<std::string> apply_to;
  std::string extend_pn;
  std::vector<const CLI::Option*> options;  // the options above, to distinguish an empty value from none
};

// `lists`: --rope-theta, --row-scale and --swap-attention take several values, separated by commas, and
// --apply-to selects the variants to change.
void add_change_options(CLI::App& command, ChangeArguments& arguments, bool lists);

// Throws core::UsageError for an empty value, one that is not a number or not a kind of attention, and
// without `lists` for more than one value.
evaluation::ChangeLists parse_changes(const ChangeArguments& arguments, bool lists);

// Parses "1,2,4" as whole numbers of at least `least`; messages name `option`. Throws core::UsageError.
std::vector<int64_t> parse_counts(std::string_view option, const std::string& text, int64_t least = 1);

// Parses "softmax,ssmax" as kinds of attention; messages name `option`. Throws core::UsageError.
std::vector<config::AttentionKind> parse_kinds(std::string_view option, const std::string& text);

// Arguments common to all comparisons of models.
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

// Runs `compare` with progress on stderr, writes the files of --out and prints the result. A requested stop
// throws Stopped, with nothing written or printed. `data`: the globs of --data. Throws core::UsageError where
// --out would overwrite a file that they name, and whatever `compare` throws.
void print_comparison(const ComparisonArguments& arguments, const std::vector<std::string>& data,
                      const std::function<report::Evaluation(const evaluation::Progress& progress)>& compare);

// evaluation::compare_by_position or compare_attention.
using CompareOnWindows = report::Evaluation (*)(const evaluation::PositionOptions& options,
                                                const evaluation::Progress& progress);

// Makes `command` a comparison of models on windows of text: adds the options for windows and bins of
// positions and those of add_comparison_options(), and runs `compare` with them through print_comparison().
void add_window_comparison(CLI::App& command, CompareOnWindows compare);

}  // namespace ssgpt::cli
