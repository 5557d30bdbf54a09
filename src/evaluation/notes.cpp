#include "evaluation/notes.h"

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "data/prepare_synthetic.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::evaluation {
namespace {

using report::Note;

const Subject& first_of(const Subjects& subjects, const std::string& variant) {
  return *std::find_if(subjects.all.begin(), subjects.all.end(),
                       [&](const Subject& subject) { return subject.variant == variant; });
}

std::optional<int64_t> step_of(const Subject& subject) {
  return subject.summary.trainer ? std::optional(subject.summary.trainer->step) : std::nullopt;
}

void add_unequal_steps(const Subjects& subjects, const std::string& variant, std::vector<Note>& notes) {
  std::set<int64_t> steps;
  std::vector<std::string> parts;
  for (const Subject& subject : subjects.all) {
    const std::optional<int64_t> step = step_of(subject);
    if (subject.variant != variant || !step) continue;
    steps.insert(*step);
    parts.push_back(fmt::format("seed {}: {}", subject.seed, *step));
  }
  if (steps.size() > 1) {
    notes.push_back(
        {/*warning=*/true,
         fmt::format("The seeds of {} are at different steps ({}): their mean is of models that have "
                     "been trained for different times.",
                     variant, fmt::join(parts, ", "))});
  }
}

void add_steps_and_lengths(const Subject& first, const Subject& other, std::vector<Note>& notes) {
  const auto step = step_of(first);
  const auto other_step = step_of(other);
  if (step && other_step && step != other_step) {
    notes.push_back(
        {/*warning=*/true,
         fmt::format("The models have been trained for different numbers of steps ({}: {}, {}: {}): longer "
                     "training alone changes what is measured.",
                     first.checkpoint.string(), *step, other.checkpoint.string(), *other_step)});
  }
  const int64_t length = first.summary.spec.sequence_length;
  const int64_t other_length = other.summary.spec.sequence_length;
  if (length != other_length) {
    notes.push_back(
        {/*warning=*/true,
         fmt::format("The models were trained on windows of different lengths ({}: {}, {}: {} tokens).",
                     first.checkpoint.string(), length, other.checkpoint.string(), other_length)});
  }
}

void add_settings(const Subject& first, const Subject& other, std::vector<Note>& notes) {
  if (!first.run || !other.run) return;
  std::vector<std::string> parts;
  bool other_data = !first.run->data_fingerprint.empty() && !other.run->data_fingerprint.empty() &&
                    first.run->data_fingerprint != other.run->data_fingerprint;
  for (const report::SettingDifference& one : report::setting_differences(*first.run, *other.run)) {
    if (!one.material || report::is_of_attention(one.key) || one.key == "data.sequence_length") continue;
    if (one.key == "data.train") {
      other_data = true;
    } else {
      parts.push_back(fmt::format("{} ({}; {})", one.key, one.baseline, one.candidate));
    }
  }
  if (other_data) {
    notes.push_back({/*warning=*/true,
                     fmt::format("{} and {} were trained on different data.", first.variant, other.variant)});
  }
  if (!parts.empty()) {
    notes.push_back(
        {/*warning=*/true, fmt::format("Settings that differ between {} and {}, besides attention: {}.",
                                       first.variant, other.variant, fmt::join(parts, ", "))});
  }
}

// A copy without its run, of what an earlier version saved, does not tell what it began from.
void add_unknown_beginnings(const Subjects& subjects, std::vector<Note>& notes) {
  std::vector<std::string> names;
  for (const Subject& subject : subjects.all) {
    if (subject.run && subject.run->run_id.empty()) names.push_back(subject.checkpoint.string());
  }
  if (names.empty() || subjects.all.size() == 1) return;
  notes.push_back({/*warning=*/true,
                   fmt::format("It is not known what {} began from, because neither a run around it nor the "
                               "checkpoint itself tells. If several of these models began from the same "
                               "trained model, they are not independent, and a verdict does not hold. Name "
                               "checkpoints in their runs to have that checked.",
                               core::listed(names))});
}

// The folders with the shards that a run was trained on, as far as they still exist.
std::set<std::filesystem::path> data_folders(const report::RunData& run) {
  std::set<std::filesystem::path> folders;
  try {
    for (const auto& shard : core::expand_globs(run.config.data.train)) folders.insert(shard.parent_path());
  } catch (const core::InputError&) {  // they are elsewhere: nothing is known about them
  }
  return folders;
}

// How the shards of this folder differ from what a model would learn the task from; empty if they match.
std::string mismatch(const data::PreparedTask& prepared, data::SyntheticTask task, const Subject& subject) {
  if (prepared.task.empty()) return "text";
  const int64_t vocab_size = subject.summary.spec.config.vocab_size;
  const int64_t length = subject.summary.spec.sequence_length;
  if (prepared.task == data::to_string(task) && prepared.vocab_size == vocab_size &&
      prepared.length == length)
    return "";
  return fmt::format("sequences of the task {} of {} tokens over {} symbols", prepared.task, prepared.length,
                     prepared.vocab_size);
}

}  // namespace

std::vector<Note> notes_on_training(const Subjects& subjects, const Subject& baseline) {
  std::vector<Note> notes;
  for (const std::string& text : subjects.left_out) notes.push_back({/*warning=*/true, text});
  add_unknown_beginnings(subjects, notes);
  for (const std::string& variant : subjects.variants) add_unequal_steps(subjects, variant, notes);
  const Subject& first = first_of(subjects, baseline.variant);
  for (const std::string& variant : subjects.variants) {
    if (variant == first.variant) continue;
    const auto same_seed = std::find_if(
        subjects.all.begin(), subjects.all.end(),
        [&](const Subject& subject) { return subject.variant == variant && subject.seed == first.seed; });
    const Subject& other = same_seed != subjects.all.end() ? *same_seed : first_of(subjects, variant);
    add_steps_and_lengths(first, other, notes);
    add_settings(first, other, notes);
  }
  return notes;
}

std::vector<Note> notes_on_changes(const Subjects& subjects, const ChangeLists& changes) {
  std::vector<std::string> options;
  if (!changes.rope_thetas.empty()) options.emplace_back("--rope-theta");
  if (changes.yarn_factor) options.emplace_back("--yarn");
  std::vector<Note> notes;
  for (const std::string& variant : subjects.variants) {
    if (options.empty() || config::has_rope(first_of(subjects, variant).summary.spec.config)) continue;
    notes.push_back(
        {/*warning=*/false, fmt::format("{} has no RoPE in any layer: {} change{} nothing in it.", variant,
                                        core::listed(options), options.size() == 1 ? "s" : "")});
  }
  return notes;
}

std::vector<Note> notes_on_task(const Subjects& subjects, data::SyntheticTask task) {
  std::vector<Note> notes;
  for (const std::string& variant : subjects.variants) {
    const Subject& subject = first_of(subjects, variant);
    if (!subject.run) continue;
    for (const std::filesystem::path& folder : data_folders(*subject.run)) {
      const std::optional<data::PreparedTask> prepared = data::read_prepared_task(folder);
      const std::string other = prepared ? mismatch(*prepared, task, subject) : "";
      if (other.empty()) continue;
      notes.push_back(
          {/*warning=*/true,
           fmt::format("{} was trained on {} ({}), in windows of {} tokens; it is asked the task {} over its "
                       "vocabulary of {}, which it has not learned like this.",
                       variant, other, folder.string(), subject.summary.spec.sequence_length,
                       data::to_string(task), subject.summary.spec.config.vocab_size)});
    }
  }
  return notes;
}

}  // namespace ssgpt::evaluation
