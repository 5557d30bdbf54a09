// The common part of all comparisons of models along an axis of context: which models to measure under which
// conditions, loading and measuring each in turn, and judging the results.
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

// What a comparison starts from.
struct Plan {
  Subjects subjects;
  std::vector<Condition> conditions;

  // The first subject of the baseline; default lengths are multiples of its training length.
  const Subject& baseline() const;
};

// Throws what find_subjects() and make_conditions() throw.
Plan make_plan(const ModelOptions& options);

// Fills in the evaluation's figures of `model` at its points. `measured` already describes the model.
using Measure = std::function<void(model::GPT& model, report::EvaluatedModel& measured)>;

// Loads each model of each condition for windows of `length` tokens, measures it, and judges the results;
// `evaluation` has its kind and points. Adds the notes about the effects of the changes. Throws what
// load_model() and `measure` throw.
void measure_all(const Plan& plan, const ModelOptions& options, int64_t length, const Measure& measure,
                 const Progress& progress, report::Evaluation& evaluation);

void append(std::vector<report::Note>& notes, const std::vector<report::Note>& more);

// The files that --data names. Throws core::UsageError if one is named twice, and what expand_globs() throws.
std::vector<std::filesystem::path> shards_of(const std::vector<std::string>& globs);

// The same files and, for Megatron's format, the index beside each: none of these may be overwritten. Throws
// as shards_of() does.
std::vector<std::filesystem::path> files_of_data(const std::vector<std::string>& globs);

}  // namespace ssgpt::evaluation
