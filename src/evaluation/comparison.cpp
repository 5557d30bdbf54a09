#include "evaluation/comparison.h"

#include "core/error.h"
#include "core/file.h"
#include "evaluation/applied_changes.h"
#include "evaluation/notes.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::evaluation {
namespace {

using report::EvaluatedCondition;
using report::EvaluatedModel;

EvaluatedModel describe(const Subject& subject, const Candidate& candidate, const LoadedModel& loaded) {
  EvaluatedModel model;
  model.variant = candidate.variant;
  model.seed = subject.seed;
  model.checkpoint = subject.checkpoint;
  if (subject.run) model.lineage = subject.run->lineage;
  if (loaded.trainer) model.step = loaded.trainer->step;
  model.attention = config::to_string(loaded.model->spec().config.attention.kind);
  model.trained_length = loaded.trained_length;
  model.rope_theta = loaded.rope_theta;
  model.changes = applied_changes(candidate.overrides, loaded);
  model.fitted = fitted_positions(loaded);
  return model;
}

// Whether there is one model and at most one value of each change: then the last model measured is the one
// asked for.
bool is_single(const Subjects& subjects, const ChangeLists& changes) {
  return subjects.all.size() == 1 && changes.rope_thetas.size() <= 1 &&
         changes.row_scales.size() + changes.swaps.size() <= 1;
}

// Number of trials that each of a model's values is the mean of.
int64_t num_trials(report::EvaluationKind kind, const EvaluatedModel& model) {
  return static_cast<int64_t>(report::values_of(model, report::figures_of(kind).front())[0].trials.size());
}

}  // namespace

const Subject& Plan::baseline() const {
  const std::vector<Candidate>& candidates = conditions.front().candidates;
  const auto found = std::find_if(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
    return candidate.variant == subjects.baseline;
  });
  return subjects.all[found->subject];
}

Plan make_plan(const ModelOptions& options) {
  const auto candidates = [&](const Subjects& found) {
    return candidate_names(make_conditions(found, options.changes).front());
  };
  Plan plan{.subjects = find_subjects(options.paths, options.baseline, candidates), .conditions = {}};
  plan.conditions = make_conditions(plan.subjects, options.changes);
  return plan;
}

void measure_all(const Plan& plan, const ModelOptions& options, int64_t length, const Measure& measure,
                 const Progress& progress, report::Evaluation& evaluation) {
  const Subjects& subjects = plan.subjects;
  append(evaluation.notes, notes_on_changes(subjects, options.changes));
  size_t count = 0;
  for (const Condition& condition : plan.conditions) count += condition.candidates.size();
  size_t number = 0;
  for (const Condition& condition : plan.conditions) {
    EvaluatedCondition& result = evaluation.conditions.emplace_back();
    result.rope_theta = condition.rope_theta;
    result.baseline = subjects.baseline;
    for (const Candidate& candidate : condition.candidates) {
      const Subject& subject = subjects.all[candidate.subject];
      if (progress.model)
        progress.model(fmt::format("{}, seed {}", candidate.variant, subject.seed), number, count);
      ++number;
      const LoadedModel loaded = load_model(
          subject.checkpoint,
          {.sequence_length = length, .overrides = candidate.overrides, .placement = options.placement});
      EvaluatedModel& model = result.models.emplace_back(describe(subject, candidate, loaded));
      evaluation.dtype = loaded.model->execution().dtype == at::kBFloat16 ? "bfloat16" : "float32";
      evaluation.device = loaded.model->execution().device.str();
      measure(*loaded.model, model);
    }
    report::judge(evaluation.kind, result);
  }
  evaluation.single = is_single(subjects, options.changes);
  evaluation.trials = num_trials(evaluation.kind, evaluation.conditions[0].models[0]);
}

void append(std::vector<report::Note>& notes, const std::vector<report::Note>& more) {
  notes.insert(notes.end(), more.begin(), more.end());
}

std::vector<std::filesystem::path> shards_of(const std::vector<std::string>& globs) {
  std::vector<std::filesystem::path> shards;
  std::set<std::filesystem::path> seen;
  for (const std::string& glob : globs) {
    for (const std::filesystem::path& shard : core::expand_globs({glob})) {
      if (!seen.insert(std::filesystem::weakly_canonical(shard)).second)
        throw core::UsageError("--data: {} is named twice.", shard.string());
      shards.push_back(shard);
    }
  }
  return shards;
}

std::vector<std::filesystem::path> files_of_data(const std::vector<std::string>& globs) {
  std::vector<std::filesystem::path> files;
  for (const std::filesystem::path& shard : shards_of(globs)) {
    files.push_back(shard);
    files.push_back(std::filesystem::path(shard).replace_extension(".idx"));
  }
  return files;
}

}  // namespace ssgpt::evaluation
