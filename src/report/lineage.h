// The trainings behind a run that began from the weights of another one, and what seeds of such runs can say.
//
// A claim about a training must rest on seeds of that training. Where two sides began from different trained
// models, their difference is one of these models as well, and runs of a side that began from one model are
// one sample of it, however many seeds their own training has (pseudo-replication: Hurlbert 1984, "Pseudo-
// replication and the design of ecological field experiments", Ecological Monographs 54(2)).
#pragma once

#include "report/training.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::report {

// A training that another one went on from, at `step`.
struct Ancestor {
  std::filesystem::path checkpoint;  // by which it was named
  bool known = false;                // all that follows: run.json of an earlier version has the path alone
  std::string run_id;
  int64_t step = 0;   // finished updates
  Training training;  // with the swaps of the attention that were done by then
};

// From the first training on; empty: the run began from initial values.
using Lineage = std::vector<Ancestor>;

// The very same weights: of one run at one step; where either is not known, by the path.
bool same_checkpoint(const Ancestor& a, const Ancestor& b);

// Whether one training made both, at whatever steps, or was repeated with the same seed.
bool same_training(const Ancestor& a, const Ancestor& b);

// Whether two runs of these seeds began alike: from the very same weights; or from trainings that learn alike
// at the same step, whose seeds differ as those of the runs do. False where that cannot be told.
bool begin_alike(const Lineage& a, uint64_t seed_a, const Lineage& b, uint64_t seed_b);

// The runs of a side that are compared, by what they began from.
struct Origin {
  std::string label;  // of the variant
  std::vector<const Lineage*> runs;
};

struct Independence {
  // False: the sides differ in a training that runs of one side share, so the scatter of these runs is not
  // that of what differs, and there is no verdict.
  bool independent = true;
  std::string note;  // why, or for which checkpoints alone a verdict holds; a sentence or two, else empty
};

// `paired`: runs of the same place are a pair, and both sides have as many.
Independence judge_independence(const Origin& candidate, const Origin& baseline, bool paired);

}  // namespace ssgpt::report
