// Everything that determines what a training learns, except where it begins: its settings, its data and its
// tokenizer.
#pragma once

#include "config/config.h"

#include <optional>
#include <string>
#include <vector>

namespace ssgpt::report {

struct Training {
  config::Config config;
  std::string data_fingerprint;       // of the training data; empty if unknown
  std::string tokenizer_fingerprint;  // of its tokenizer's file; likewise
};

struct SettingDifference {
  // A config key, "parent" (the checkpoint that a run began from), or a key of a training behind it:
  // "parent.model.attention.kind".
  std::string key;
  std::string baseline;
  std::string candidate;
  bool material = true;  // false: names, logging, checkpoints and the like
};

bool same_known_data(const Training& a, const Training& b);

// Compares the fingerprints, or else the files, which may have changed since. nullopt: unknown.
std::optional<bool> same_tokenizer(const Training& a, const Training& b);

// Differences in the config alone. Data that both are known to have read alike is not material, wherever it
// is stored; nor is the seed.
std::vector<SettingDifference> differences(const Training& baseline, const Training& candidate);

// Whether no setting differs that affects what is learnt, except the seed.
bool learn_alike(const Training& a, const Training& b);

}  // namespace ssgpt::report
