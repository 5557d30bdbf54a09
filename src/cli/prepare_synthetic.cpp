// ssgpt prepare --synthetic

#include "cli/prepare_synthetic.h"

#include "cli/commands.h"
#include "cli/number_checks.h"
#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "core/stop_signal.h"
#include "core/text.h"

#include <cstdio>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {
namespace {

std::string list_tasks() {
  std::string text;
  for (const data::SyntheticTaskRow& row : data::synthetic_tasks()) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", row.name, row.description);
  }
  return text;
}

std::string line_of(std::string_view name, const data::SyntheticCount& count) {
  return fmt::format("{:<12}{} windows, {} tokens, {}\n", name, count.windows, count.tokens,
                     core::counted(count.shards, "shard"));
}

void print_summary(const data::SyntheticOptions& options, const data::SyntheticSummary& summary, bool json) {
  const auto tokens = static_cast<double>(summary.train.tokens + summary.validation.tokens);
  std::string text;
  if (json) {
    const nlohmann::ordered_json object = {{"out", options.output.string()},
                                           {"task", data::to_string(options.task)},
                                           {"vocab_size", options.vocab_size},
                                           {"length", options.length},
                                           {"seed", options.seed},
                                           {"train", data::json_of(summary.train)},
                                           {"validation", data::json_of(summary.validation)},
                                           {"kept_shards", summary.kept_shards},
                                           {"seconds", summary.seconds}};
    text = core::json_text(object) + "\n";
  } else {
    text = line_of("train", summary.train) + line_of("validation", summary.validation);
    text += fmt::format("{:<12}{} of {} tokens per window over {} symbols; {} tokens in {}\n", "in all",
                        data::to_string(options.task), options.length, options.vocab_size,
                        core::human_count(tokens), core::human_duration(summary.seconds));
    if (summary.kept_shards > 0) {
      text += fmt::format("{:<12}{} shards of an interrupted call\n", "kept", summary.kept_shards);
    }
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

SyntheticCommand::SyntheticCommand(CLI::App& command) {
  task_ = command
              .add_option("--synthetic", task_name_,
                          fmt::format("Write sequences of this synthetic task, for evaluate retrieval, "
                                      "instead of encoding text. {}",
                                      list_tasks()))
              ->check(CLI::IsMember(data::synthetic_task_names()))
              ->type_name("TASK");
  required_ = {
      command
          .add_option("--vocab-size", options_.vocab_size,
                      "Number of symbols, model.vocab_size of the models to train (with --synthetic)")
          ->transform(whole_number(0)),
      command
          .add_option("--length", options_.length,
                      "Tokens per sequence, data.sequence_length of the models (with --synthetic)")
          ->transform(whole_number(0)),
      command
          .add_option("--windows", options_.num_windows, "Number of sequences to train on (with --synthetic)")
          ->transform(whole_number(0))};
  CLI::Option* validation = command
                                .add_option("--validation-windows", options_.validation_windows,
                                            "Number of sequences to hold out, 0 for none (with --synthetic) "
                                            "[default: a twentieth of --windows]")
                                ->transform(whole_number(0));
  validation->needs(task_);
  for (CLI::Option* option : required_) option->needs(task_);
}

std::string SyntheticCommand::describe_tasks() {
  std::string text = "Synthetic tasks, in L tokens:\n";
  for (const data::SyntheticTaskRow& row : data::synthetic_tasks()) {
    text += fmt::format("  {:<9} {}.\n", row.name, row.grammar);
  }
  return text;
}

void SyntheticCommand::exclude(const std::vector<CLI::Option*>& text_options) {
  for (CLI::Option* option : text_options) task_->excludes(option);
}

void SyntheticCommand::run(const data::SyntheticOptions& shared, bool json) {
  std::vector<std::string> missing;
  for (const CLI::Option* option : required_) {
    if (option->count() == 0) missing.push_back(option->get_name());
  }
  if (!missing.empty()) {
    std::string list = missing.back();
    missing.pop_back();
    if (!missing.empty()) list = fmt::format("{} and {}", fmt::join(missing, ", "), list);
    throw core::UsageError("--synthetic {} needs {} as well.", task_name_, list);
  }
  options_.task = data::parse_synthetic_task(task_name_);
  options_.seed = shared.seed;
  options_.output = shared.output;
  options_.shard_tokens = shared.shard_tokens;
  options_.overwrite = shared.overwrite;
  const core::StopSignal stop;
  options_.stop_asked = [&stop] {
    return stop.received() != 0;
  };
  const data::SyntheticSummary summary = data::prepare_synthetic(options_);
  options_.stop_asked = {};
  if (summary.stopped) {
    core::log::info("stopped on request after {}. Repeat the command to continue.",
                    core::counted(summary.train.shards + summary.validation.shards, "finished shard"));
    throw Stopped{128 + stop.received()};
  }
  print_summary(options_, summary, json);
}

}  // namespace ssgpt::cli
