#include "report/training.h"

#include "config/material.h"
#include "core/checksum.h"
#include "core/file.h"

#include <algorithm>

namespace ssgpt::report {
namespace {

// The inputs that two trainings are known to share, wherever they are stored.
struct SharedInputs {
  bool data = false;
  bool tokenizer = false;
};

bool is_material(const config::Difference& difference, const SharedInputs& shared) {
  const std::string& key = difference.key;
  if (key == "run.name" || key == "run.seed") return false;
  if (key == "data.train" && shared.data) return false;
  if (key == "data.tokenizer" && shared.tokenizer) return false;
  return config::is_material(difference);
}

}  // namespace

bool same_known_data(const Training& a, const Training& b) {
  return !a.data_fingerprint.empty() && a.data_fingerprint == b.data_fingerprint;
}

std::optional<bool> same_tokenizer(const Training& a, const Training& b) {
  // Compared first, since the files may have changed.
  if (!a.tokenizer_fingerprint.empty() && !b.tokenizer_fingerprint.empty()) {
    return a.tokenizer_fingerprint == b.tokenizer_fingerprint;
  }
  const auto& first = a.config.data.tokenizer;
  const auto& second = b.config.data.tokenizer;
  if (first == second) return true;
  if (!first || !second || !core::exists(*first) || !core::exists(*second)) return std::nullopt;
  return core::checksum_of_file(*first) == core::checksum_of_file(*second);
}

std::vector<SettingDifference> differences(const Training& baseline, const Training& candidate) {
  const SharedInputs shared = {.data = same_known_data(baseline, candidate),
                               .tokenizer = same_tokenizer(baseline, candidate) == true};
  std::vector<SettingDifference> result;
  for (const config::Difference& one : config::differences(baseline.config, candidate.config))
    result.push_back({one.key, one.before, one.after, is_material(one, shared)});
  return result;
}

bool learn_alike(const Training& a, const Training& b) {
  const std::vector<SettingDifference> all = differences(a, b);
  return std::none_of(all.begin(), all.end(), [](const SettingDifference& one) { return one.material; });
}

}  // namespace ssgpt::report
