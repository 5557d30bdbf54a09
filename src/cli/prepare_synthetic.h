// The options of `ssgpt prepare --synthetic` and what they do.
#pragma once

#include "data/prepare_synthetic.h"

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace ssgpt::cli {

class SyntheticCommand {
 public:
  // Adds --synthetic and the options that go with it alone to `command`, which must not outlive this object.
  explicit SyntheticCommand(CLI::App& command);

  // What the sequences of each task are, for --help.
  static std::string describe_tasks();

  // --synthetic was given.
  bool asked() const { return task_->count() > 0; }

  // `text_options` are refused beside --synthetic.
  void exclude(const std::vector<CLI::Option*>& text_options);

  // Writes the shards and prints the summary. `shared` has what the options of both uses say: seed, output,
  // shard_tokens, overwrite. Throws core::UsageError where a required option is missing, as
  // data::prepare_synthetic(), and Stopped.
  void run(const data::SyntheticOptions& shared, bool json);

 private:
  CLI::Option* task_;
  std::vector<CLI::Option*> required_;
  std::string task_name_;
  data::SyntheticOptions options_;
};

}  // namespace ssgpt::cli
