// The conditions under which models are measured: lists of changes made to them on loading, and the models
// that result.
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
  std::vector<double> rope_thetas;  // each is a condition of its own; empty: as trained
  std::optional<double> yarn_factor;
  // Each except 1 gives a further candidate for the variants in apply_to.
  std::vector<double> row_scales;
  // Each gives a further candidate for the variants of another kind.
  std::vector<config::AttentionKind> swaps;
  std::vector<std::string> apply_to;  // variants that row scales and swaps are applied to; empty: all
  bool extend_pn = false;
};

// One model as it is loaded and compared: candidates with equal names differ only in seed.
struct Candidate {
  size_t subject = 0;   // index in Subjects::all
  std::string variant;  // "Softmax", "Softmax, row scale 1.5", "Softmax -> SSMax, untrained"
  Overrides overrides;
};

struct Condition {
  std::optional<double> rope_theta;
  std::vector<Candidate> candidates;  // starting with the models without a changed row scale or attention
};

// Returns every model under every condition. yarn_factor applies to all of them, extend_pn to those whose
// attention has a learned p_n.
//
// Throws core::UsageError for a theta or row scale that is not finite and above 0, a YaRN factor below 1, a
// value that is listed twice, for several thetas with a yarn_factor, which itself amounts to one change of
// theta, for thetas and a yarn_factor if no model has RoPE in any layer, for a swap to the kind that every
// model it would apply to already has, for extend_pn if no model has a learned p_n, and for apply_to with a
// name that is no variant's or with nothing to apply.
std::vector<Condition> make_conditions(const Subjects& subjects, const ChangeLists& changes);

// The names of the candidates, without duplicates.
std::vector<std::string> candidate_names(const Condition& condition);

// Combines all of `changes`, at most one value of each, for one model. Throws as make_conditions() does.
Overrides combine_changes(const Subject& subject, const ChangeLists& changes);

// Throws core::UsageError if a candidate cannot be loaded for windows of `sequence_length` tokens (see
// check_windows).
void check_candidates(const Subjects& subjects, const std::vector<Condition>& conditions,
                      int64_t sequence_length);

}  // namespace ssgpt::evaluation
