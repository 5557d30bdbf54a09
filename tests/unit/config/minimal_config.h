// The smallest config that loads, and the message of one that does not.
#pragma once

#include "config/config.h"
#include "core/error.h"

#include <string>
#include <vector>

namespace ssgpt::config {

inline const std::string kMinimal = R"(model:
  vocab_size: 4096
  hidden_size: 256
  num_hidden_layers: 6
  num_attention_heads: 4
  intermediate_size: 688
data:
  train: [train.bin]
train:
  max_steps: 1000
  global_batch_size: 32
  micro_batch_size: 8
)";

// The error of parse() for kMinimal with `added` after it; empty if it accepts.
inline std::string message_with(const std::string& added, const std::vector<std::string>& overrides = {}) {
  try {
    parse(kMinimal + added, "c.yaml", overrides);
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "";
}

inline Config minimal_with(const std::vector<std::string>& overrides) {
  return parse(kMinimal, "c.yaml", overrides);
}

}  // namespace ssgpt::config
