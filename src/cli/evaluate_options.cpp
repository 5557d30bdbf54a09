#include "cli/evaluate_options.h"

#include "cli/evaluate_progress.h"
#include "cli/number_checks.h"
#include "cli/placement_options.h"
#include "cli/print.h"
#include "core/error.h"
#include "core/file.h"
#include "core/outputs.h"
#include "core/text.h"
#include "evaluation/comparison.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

std::vector<std::string> split(std::string_view option, const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    if (parts.back().empty()) {
      throw core::UsageError("{} '{}': a value is empty; give values with commas between them.", option,
                             text);
    }
    begin = end + 1;
  }
  return parts;
}

bool is_given(const ChangeArguments& arguments, std::string_view option) {
  return std::any_of(arguments.options.begin(), arguments.options.end(), [option](const CLI::Option* one) {
    return one->get_name() == option && one->count() > 0;
  });
}

std::vector<double> parse_numbers(const ChangeArguments& arguments, std::string_view option,
                                  const std::string& text) {
  std::vector<double> numbers;
  if (!is_given(arguments, option)) return numbers;
  for (const std::string& part : split(option, text)) {
    const std::optional<double> number = core::parse_number<double>(part);
    if (!number) throw core::UsageError("{}: '{}' is not a number.", option, part);
    numbers.push_back(*number);
  }
  return numbers;
}

// A shard may have any name, including that of an output file.
void check_out(const std::string& out, const std::vector<std::string>& data) {
  if (out.empty() || data.empty()) return;
  const std::vector<std::filesystem::path> inputs = evaluation::files_of_data(data);
  for (const char* name : report::kEvaluationFileNames)
    core::refuse_output_over_input("--out", std::filesystem::path(out) / name, inputs);
}

// Creates the directory of --out before hours of work instead of after them, and removes it again if nothing
// was written into it.
class OutDirectory {
 public:
  explicit OutDirectory(const std::string& path) : path_(path) {
    if (path_.empty()) return;
    is_new_ = !core::exists(path_);
    core::create_writable_directory(path_);
  }
  ~OutDirectory() {
    std::error_code not_empty;
    if (is_new_) std::filesystem::remove(path_, not_empty);
  }
  OutDirectory(const OutDirectory&) = delete;
  OutDirectory& operator=(const OutDirectory&) = delete;

 private:
  const std::filesystem::path path_;
  bool is_new_ = false;
};

}  // namespace

void add_change_options(CLI::App& command, ChangeArguments& arguments, bool lists) {
  const std::string list = lists ? "LIST" : "X";
  const auto add = [&](CLI::Option* option, const std::string& type) {
    arguments.options.push_back(option->type_name(type)->group("Changes to the loaded models"));
  };
  add(command.add_option("--rope-theta", arguments.rope_theta,
                         lists ? "RoPE's theta in place of the checkpoint's; each of several values, as in "
                                 "10000,500000, gets its own table"
                               : "RoPE's theta in place of the checkpoint's"),
      list);
  add(command
          .add_option("--yarn", arguments.yarn,
                      "YaRN factor (arXiv 2309.00071): length of the windows relative to the trained length, "
                      "1 or more")
          ->transform(number()),
      "X");
  add(command.add_option("--row-scale", arguments.row_scale,
                         lists
                             ? "Factor on all attention scores; each value other than 1 adds a candidate of "
                               "every variant (see --apply-to)"
                             : "Factor on all attention scores"),
      list);
  add(command.add_option("--swap-attention", arguments.swap_attention,
                         lists ? "Kind of attention to swap to without training, with new parameters at "
                                 "their initial values: adds a candidate of every variant of another kind "
                                 "(see --apply-to)"
                               : "Kind of attention to swap to without training, with new parameters at "
                                 "their initial values"),
      lists ? "KIND,KIND" : "KIND");
  if (lists) {
    add(command.add_option(
            "--apply-to", arguments.apply_to,
            "Variants that --row-scale and --swap-attention apply to, such as the softmax baseline only: "
            "fewer candidates leave each verdict more power [default: all]"),
        "VARIANT");
  }
  add(command.add_option(
          "--extend-pn", arguments.extend_pn,
          "Extend a learned p_n beyond its table by a1 log n + a2, fitted to the table by least squares"),
      "fit");
}

evaluation::ChangeLists parse_changes(const ChangeArguments& arguments, bool lists) {
  evaluation::ChangeLists changes;
  changes.rope_thetas = parse_numbers(arguments, "--rope-theta", arguments.rope_theta);
  changes.row_scales = parse_numbers(arguments, "--row-scale", arguments.row_scale);
  changes.yarn_factor = arguments.yarn;
  if (is_given(arguments, "--swap-attention")) {
    changes.swaps = parse_kinds("--swap-attention", arguments.swap_attention);
  }
  for (const auto& [option, count] : {std::pair{"--rope-theta", changes.rope_thetas.size()},
                                      std::pair{"--row-scale", changes.row_scales.size()},
                                      std::pair{"--swap-attention", changes.swaps.size()}}) {
    if (!lists && count > 1) throw core::UsageError("{}: one value, not {}.", option, count);
  }
  changes.apply_to = arguments.apply_to;
  if (is_given(arguments, "--extend-pn") && arguments.extend_pn != "fit")
    throw core::UsageError("--extend-pn '{}': it must be fit.", arguments.extend_pn);
  changes.extend_pn = arguments.extend_pn == "fit";
  return changes;
}

std::vector<config::AttentionKind> parse_kinds(std::string_view option, const std::string& text) {
  std::vector<config::AttentionKind> kinds;
  for (const std::string& name : split(option, text)) {
    const std::optional<config::AttentionKind> kind = config::parse_attention_kind(name);
    if (!kind) {
      throw core::UsageError("{} {}: it must be one of {}.", option, name,
                             fmt::join(config::attention_kind_names(), ", "));
    }
    kinds.push_back(*kind);
  }
  return kinds;
}

std::vector<int64_t> parse_counts(std::string_view option, const std::string& text, int64_t least) {
  std::vector<int64_t> counts;
  for (const std::string& part : split(option, text)) {
    const std::optional<int64_t> count = core::parse_number<int64_t>(part);
    if (!count || *count < least)
      throw core::UsageError("{}: '{}' is not a whole number above {}.", option, part, least - 1);
    counts.push_back(*count);
  }
  return counts;
}

void add_comparison_options(CLI::App& command, ComparisonArguments& arguments) {
  command
      .add_option("--checkpoint", arguments.checkpoints,
                  "One or more models: checkpoints, runs (their newest checkpoint), the folder of a sweep, "
                  "or Hugging Face directories of Llama or Qwen 3 models; those that differ only in seed "
                  "form one variant")
      ->required()
      ->type_name("DIR");
  command
      .add_option(
          "--baseline", arguments.baseline,
          "Variant that the others are compared with, by its name (which may be one such as 'Softmax, row "
          "scale 1.5') or by one of the paths [default: the first, or the baseline of a sweep]")
      ->type_name("VARIANT");
  add_change_options(command, arguments.changes, /*lists=*/true);
  add_placement_options(command, arguments.placement);
  command.add_flag("--json", arguments.json, "Print the contents of evaluation.json instead of the tables");
  command
      .add_option("--out", arguments.out,
                  "Also write evaluation.json, evaluation.csv and table.txt into this directory")
      ->type_name("DIR");
}

evaluation::ModelOptions model_options(const ComparisonArguments& arguments) {
  evaluation::ModelOptions options;
  for (const std::string& path : arguments.checkpoints) {
    if (path.empty()) throw core::UsageError("--checkpoint '': a path is empty.");
    options.paths.emplace_back(path);
  }
  if (!arguments.baseline.empty()) options.baseline = arguments.baseline;
  options.changes = parse_changes(arguments.changes, /*lists=*/true);
  options.placement = arguments.placement;
  return options;
}

void print_comparison(
    const ComparisonArguments& arguments, const std::vector<std::string>& data,
    const std::function<report::Evaluation(const evaluation::Progress& progress)>& compare) {
  check_out(arguments.out, data);
  const OutDirectory out(arguments.out);
  report::Evaluation evaluation;
  {
    EvaluateProgress progress;
    evaluation = compare(progress.functions());
    progress.finish();
  }
  if (!arguments.out.empty()) report::write_files(evaluation, arguments.out);
  if (arguments.json) {
    print_raw(report::to_json(evaluation));
  } else {
    print_text(report::to_table(evaluation));
  }
}

namespace {

struct WindowArguments {
  ComparisonArguments comparison;
  evaluation::PositionOptions options;
};

void add_window_options(CLI::App& command, evaluation::PositionOptions& options) {
  command.add_option("--data", options.data, "Token shards, globs allowed")->required()->type_name("FILES");
  command
      .add_option("--max-length", options.max_length,
                  "Positions per window [default: 4 times the length that the baseline was trained on]")
      ->transform(whole_number(1, evaluation::kMaxLength))
      ->type_name("N");
  command
      .add_option("--bin", options.bin,
                  "Positions per bin [default: bins that end at T/4, T/2, T, 2 T, 4 T ..., where T is the "
                  "trained length]")
      ->transform(whole_number(1))
      ->type_name("W");
  command
      .add_option("--windows", options.max_windows,
                  "Maximum number of windows, spread evenly over the data [default: all]")
      ->transform(whole_number(1))
      ->type_name("K");
  command.add_flag("--documents", options.documents,
                   "Use the beginnings of documents that are longer than a window, instead of consecutive "
                   "windows of the data");
  command.add_option("--batch-size", options.batch_size, "Windows per batch [default: about 8,192 tokens]")
      ->transform(whole_number(1))
      ->type_name("B");
}

}  // namespace

void add_window_comparison(CLI::App& command, CompareOnWindows compare) {
  const auto arguments = std::make_shared<WindowArguments>();
  add_window_options(command, arguments->options);
  add_comparison_options(command, arguments->comparison);
  command.callback([arguments, compare] {
    evaluation::PositionOptions options = arguments->options;
    options.models = model_options(arguments->comparison);
    print_comparison(arguments->comparison, options.data,
                     [&](const evaluation::Progress& progress) { return compare(options, progress); });
  });
}

}  // namespace ssgpt::cli
