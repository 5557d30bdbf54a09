// Under which conditions models are measured: lists of what is changed in them on reading, and the models
// that follow from these.
#pragma once

#include "config/attention_kind.h"
#include "evaluation/overrides.h"
#include "evaluation/subjects.h"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::evaluation {

struct ChangeLists {
  std::vector<double> rope_thetas;  // each a condition of its own; none: as trained
  std::optional<double> yarn_factor;
  // Each but 1 a further candidate of the variants in apply_to.
  std::vector<double> row_scales;
  // Each a further candidate of those of another kind.
  std::vector<config::AttentionKind> swaps;
  std::vector<std::string> apply_to;  // variants that row scales and swaps are applied to; none: all
  bool extend_pn = false;
};

// One model as it is read and compared: several of one name differ in seed alone.
struct Candidate {
  size_t subject = 0;   // of Subjects::all
  std::string variant;  // "Softmax", "Softmax, row scale 1.5", "Softmax -> SSMax, untrained"
  Overrides overrides;
};

struct Condition {
  std::optional<double> rope_theta;
  std::vector<Candidate> candidates;  // the models without change of row scale and attention first
};

// Every model under every condition. yarn_factor holds in all of them; extend_pn in those whose attention has
// a learned p_n.
//
// Throws core::UsageError for a theta or row scale that is not finite and above 0, a YaRN factor below 1, a
// value twice in a list, for several thetas with a yarn_factor, which is one change of theta itself, for
// thetas and a yarn_factor where no model has RoPE in any layer, for a swap to the kind that every model has
// already that it would be applied to, for extend_pn where no model has a learned p_n, and for apply_to with
// a name that is no variant's or with nothing to apply.
std::vector<Condition> make_conditions(const Subjects& subjects, const ChangeLists& changes);

// The names of the candidates, each once.
std::vector<std::string> candidate_names(const Condition& condition);

// All of `changes`, of one value at most, together in one model. Throws as make_conditions() does.
Overrides combine_changes(const Subject& subject, const ChangeLists& changes);

// Throws core::UsageError where a candidate cannot be read for windows of `sequence_length` tokens (see
// check_windows).
void check_candidates(const Subjects& subjects, const std::vector<Condition>& conditions,
                      int64_t sequence_length);

}  // namespace ssgpt::evaluation
