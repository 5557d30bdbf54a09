// The models that the benchmarks measure by default.
#pragma once

#include "config/config.h"

#include <optional>
#include <string>
#include <vector>

namespace ssgpt::bench {

// "quickstart": the model of configs/quickstart/base.yaml, 6.8M parameters, 512 tokens, 8 sequences a step.
// "paper": that of configs/paper, 162M parameters, 1,024 tokens, 2 sequences a step. Both on
// the CPU, fp32, Softmax, where no override says otherwise.
const std::vector<std::string>& shape_names();

// The config of a shape, or of `file` where it is given, with the overrides (--set). Its data, validation
// and tokenizer are not read: a benchmark makes its tokens. Throws as config::load does.
config::Config step_config(const std::string& shape, const std::optional<std::string>& file,
                           const std::vector<std::string>& overrides);

}  // namespace ssgpt::bench
