#include "start/beginning.h"

#include "checkpoint/checkpoint.h"
#include "run/record.h"

#include <filesystem>

namespace ssgpt::start {
namespace {

run::Beginning from(const std::filesystem::path& checkpoint, int64_t first_step) {
  run::Beginning beginning{
      .first_step = first_step, .parent = std::filesystem::absolute(checkpoint).string(), .ancestors = {}};
  const std::optional<checkpoint::TrainerState> trainer = checkpoint::read_summary(checkpoint).trainer;
  if (!trainer) return beginning;
  std::optional<run::Beginning> of_parent = trainer->beginning;
  if (const std::optional<run::Keeper> keeper = run::keeper_of(checkpoint, trainer->run_id)) {
    beginning.parent = keeper->checkpoint.string();
    if (keeper->record.beginning.is_known()) of_parent = keeper->record.beginning;
  }
  const bool known =
      of_parent && of_parent->is_known() && (of_parent->parent.empty() || !of_parent->ancestors.empty());
  if (!known) return beginning;
  beginning.ancestors = of_parent->ancestors;
  beginning.ancestors.push_back({.checkpoint = beginning.parent,
                                 .run_id = trainer->run_id,
                                 .step = trainer->step,
                                 .config = trainer->config,
                                 .data_fingerprint = trainer->data_fingerprint,
                                 .tokenizer_fingerprint = trainer->tokenizer_fingerprint});
  return beginning;
}

}  // namespace

std::optional<run::Beginning> beginning_of(const Start& start) {
  if (start.mode == Mode::kFresh) return run::Beginning{.first_step = 0, .parent = {}, .ancestors = {}};
  if (start.mode != Mode::kContinue) return from(*start.checkpoint, start.state.step);
  if (start.state.beginning) return start.state.beginning;
  const std::optional<run::Record> record = run::read_record(start.directory);
  const bool tells = record && record->run_id == start.state.run_id && record->beginning.is_known();
  return tells ? std::optional(record->beginning) : std::nullopt;
}

}  // namespace ssgpt::start
