#include "start/ancestors.h"

#include "checkpoint/checkpoint.h"

#include <optional>

namespace ssgpt::start {

Parentage parentage_of(const std::filesystem::path& checkpoint) {
  Parentage parentage{.checkpoint = std::filesystem::absolute(checkpoint), .ancestors = {}};
  const std::optional<checkpoint::TrainerState> trainer = checkpoint::read_summary(checkpoint).trainer;
  if (!trainer) return parentage;
  const std::optional<run::Keeper> keeper = run::keeper_of(checkpoint, trainer->run_id);
  if (!keeper) return parentage;
  parentage.checkpoint = keeper->checkpoint;
  const run::Record& record = keeper->record;
  if (!record.parent.empty() && record.ancestors.empty()) return parentage;
  parentage.ancestors = record.ancestors;
  parentage.ancestors.push_back({.checkpoint = parentage.checkpoint.string(),
                                 .run_id = trainer->run_id,
                                 .step = trainer->step,
                                 .config = trainer->config,
                                 .data_fingerprint = trainer->data_fingerprint,
                                 .tokenizer_fingerprint = trainer->tokenizer_fingerprint});
  return parentage;
}

}  // namespace ssgpt::start
