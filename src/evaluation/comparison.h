// What every comparison of models over an axis of context does: which models under which conditions, each
// loaded and measured in turn, and the judgement of what came out.
#pragma once

#include "evaluation/compare_models.h"
#include "evaluation/conditions.h"
#include "evaluation/subjects.h"
#include "model/gpt.h"
#include "report/evaluation.h"
#include "report/variants.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

// What a comparison begins with.
struct Plan {
  Subjects subjects;
  std::vector<Condition> conditions;

  // The first subject of the baseline, whose training the default lengths are multiples of.
  const Subject& baseline() const;
};

// Throws what find_subjects() and make_conditions() throw.
Plan make_plan(const ModelOptions& options);

// Fills in what an evaluation has of `model` at its points: the figures of its kind. `measured` holds already
// what the model is.
using Measure = std::function<void(model::GPT& model, report::EvaluatedModel& measured)>;

// Loads each model of each condition for windows of `length` tokens, measures it, and judges; `evaluation`
// has its kind and points. Adds the notes on what the changes do. Throws what load_model() and `measure`
// throw.
void measure_all(const Plan& plan, const ModelOptions& options, int64_t length, const Measure& measure,
                 const Progress& progress, report::Evaluation& evaluation);

void append(std::vector<report::Note>& notes, const std::vector<report::Note>& more);

// The files that --data names. Throws core::UsageError where one is named twice, and what expand_globs()
// throws.
std::vector<std::filesystem::path> shards_of(const std::vector<std::string>& globs);

// Those, and of Megatron's format the index beside each: what must not be written over. Throws as shards_of()
// does.
std::vector<std::filesystem::path> files_of_data(const std::vector<std::string>& globs);

}  // namespace ssgpt::evaluation
