// The model shapes that the benchmarks measure by default.
#pragma once

#include "config/config.h"

#include <optional>
#include <string>
#include <vector>

namespace ssgpt::bench {

// "quickstart": the model of configs/quickstart/base.yaml, 6.8M parameters, 512 tokens, 8 sequences per step.
// "paper": that of configs/paper, 162M parameters, 1,024 tokens, 2 sequences per step. Both use the CPU, fp32
// and Softmax unless overridden.
const std::vector<std::string>& shape_names();

// The config of a shape, or of `file` if given, with the overrides (--set). Its data, validation and
// tokenizer are not read: a benchmark generates its own tokens. Throws as config::load does.
config::Config step_config(const std::string& shape, const std::optional<std::string>& file,
                           const std::vector<std::string>& overrides);

}  // namespace ssgpt::bench
