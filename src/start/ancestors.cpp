#include "start/ancestors.h"

#include "checkpoint/checkpoint.h"
#include "run/directory.h"

#include <optional>

namespace ssgpt::start {

std::filesystem::path lasting_path(const std::filesystem::path& checkpoint) {
  if (const auto trainer = checkpoint::read_summary(checkpoint).trainer) {
    const std::optional<run::Keeper> keeper = run::keeper_of(checkpoint, trainer->run_id);
    if (keeper) return keeper->directory.checkpoint(trainer->step);
  }
  return std::filesystem::absolute(checkpoint);
}

std::vector<run::Ancestor> ancestors_of(const std::filesystem::path& checkpoint) {
  const std::optional<checkpoint::TrainerState> trainer = checkpoint::read_summary(checkpoint).trainer;
  if (!trainer) return {};
  const std::optional<run::Keeper> keeper = run::keeper_of(checkpoint, trainer->run_id);
  if (!keeper) return {};
  const run::Record& record = keeper->record;
  if (!record.parent.empty() && record.ancestors.empty()) return {};
  std::vector<run::Ancestor> ancestors = record.ancestors;
  ancestors.push_back({.checkpoint = checkpoint.string(),
                       .run_id = trainer->run_id,
                       .step = trainer->step,
                       .config = trainer->config,
                       .data_fingerprint = trainer->data_fingerprint,
                       .tokenizer_fingerprint = trainer->tokenizer_fingerprint});
  return ancestors;
}

}  // namespace ssgpt::start
