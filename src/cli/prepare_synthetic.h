// The options of `ssgpt prepare --synthetic` and what they do.
#pragma once

#include "data/prepare_synthetic.h"

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

class SyntheticCommand {
 public:
  // Adds --synthetic and the options that apply only with it to `command`, which must not outlive this
  // object.
  explicit SyntheticCommand(CLI::App& command);

  // Describes the sequences of each task, for --help.
  static std::string describe_tasks();

  // Whether --synthetic was given.
  bool asked() const { return task_->count() > 0; }

  // Makes `text_options` conflict with --synthetic.
  void exclude(const std::vector<CLI::Option*>& text_options);

  // Writes the shards and prints the summary. `shared` holds the options common to both uses: seed, output,
  // shard_tokens, overwrite. Throws core::UsageError where a required option is missing, whatever
  // data::prepare_synthetic() throws, and Stopped.
  void run(const data::SyntheticOptions& shared, bool json);

 private:
  CLI::Option* task_;
  std::vector<CLI::Option*> required_;
  std::string task_name_;
  data::SyntheticOptions options_;
};

}  // namespace ssgpt::cli
