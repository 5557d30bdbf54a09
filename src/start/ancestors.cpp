#include "start/ancestors.h"

#include "checkpoint/checkpoint.h"
#include "run/directory.h"

#include <optional>

namespace ssgpt::start {

std::vector<run::Ancestor> ancestors_of(const std::filesystem::path& checkpoint) {
  const std::optional<checkpoint::TrainerState> trainer = checkpoint::read_summary(checkpoint).trainer;
  if (!trainer) return {};
  const std::optional<run::Record> record = run::read_record(run::RunDirectory(run::run_of(checkpoint)));
  if (!record || record->run_id != trainer->run_id) return {};
  if (!record->parent.empty() && record->ancestors.empty()) return {};
  std::vector<run::Ancestor> ancestors = record->ancestors;
  ancestors.push_back({.checkpoint = checkpoint.string(),
                       .run_id = trainer->run_id,
                       .step = trainer->step,
                       .config = trainer->config,
                       .data_fingerprint = trainer->data_fingerprint,
                       .tokenizer_fingerprint = trainer->tokenizer_fingerprint});
  return ancestors;
}

}  // namespace ssgpt::start
