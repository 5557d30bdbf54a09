// What decides what a training learns, but for where it begins: its settings, its data and its tokenizer.
#pragma once

#include "config/config.h"

#include <optional>
#include <string>
#include <vector>

namespace ssgpt::report {

struct Training {
  config::Config config;
  std::string data_fingerprint;       // of the training data; empty where it is not known
  std::string tokenizer_fingerprint;  // of its tokenizer's file; likewise
};

struct SettingDifference {
  // Of the config, "parent" (the checkpoint that a run began at), or a key of a training behind it:
  // "parent.model.attention.kind".
  std::string key;
  std::string baseline;
  std::string candidate;
  bool material = true;  // false: names, logging, checkpoints and the like
};

bool same_known_data(const Training& a, const Training& b);

// By the fingerprints; else by the files, which may be others by now. None: cannot be told.
std::optional<bool> same_tokenizer(const Training& a, const Training& b);

// Settings of the config alone. What both are known to have read alike is not material, wherever it stands;
// nor is the seed.
std::vector<SettingDifference> differences(const Training& baseline, const Training& candidate);

// Whether no setting differs that changes what is learnt, but the seed.
bool learn_alike(const Training& a, const Training& b);

}  // namespace ssgpt::report
