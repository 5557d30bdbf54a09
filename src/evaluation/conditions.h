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
  std::vector<double> row_scales;            // each but 1 a further candidate of every variant
  std::vector<config::AttentionKind> swaps;  // each a further candidate of every variant of another kind
  bool extend_pn = false;
};

// One model as it is read and compared.
struct Task {
  size_t subject = 0;   // of Subjects::all
  std::string variant;  // "Softmax", "Softmax, row scale 1.5", "Softmax -> SSMax, untrained"
  Overrides overrides;
};

struct Condition {
  std::optional<double> rope_theta;
  std::vector<Task> tasks;  // the models without change of row scale and attention first
};

// Every model under every condition. yarn_factor holds in all of them; extend_pn in those whose attention has
// a learned p_n.
//
// Throws core::UsageError for a theta or row scale that is not finite and above 0, a YaRN factor below 1, a
// value twice in a list, for several thetas with a yarn_factor, which is one change of theta itself, for a
// swap to the kind that every model has already, and for extend_pn where no model has a learned p_n.
std::vector<Condition> make_conditions(const Subjects& subjects, const ChangeLists& changes);

}  // namespace ssgpt::evaluation
