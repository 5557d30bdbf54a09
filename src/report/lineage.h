// The trainings behind a run that began from another run's weights, and what seeds of such runs can show.
//
// A claim about a training must rest on seeds of that training. If two sides began from different trained
// models, their difference is also one between these models, and a side's runs that began from one model are
// one sample of it, however many seeds their own training has (pseudo-replication: Hurlbert 1984,
// "Pseudoreplication and the design of ecological field experiments", Ecological Monographs 54(2)).
#pragma once

#include "report/training.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::report {

// A training that another one continued from, at `step`.
struct Ancestor {
  std::filesystem::path checkpoint;  // the path by which it was named
  bool known = false;  // everything below is known: run.json of an earlier version has only the path
  std::string run_id;
  int64_t step = 0;   // finished updates
  Training training;  // with the attention swaps done by then
};

// From the first training on; empty: the run began from initial values.
using Lineage = std::vector<Ancestor>;

// Whether both are the very same weights: same run and step or, if either is unknown, same path.
bool same_checkpoint(const Ancestor& a, const Ancestor& b);

// Whether one training produced both, at whatever steps, or was repeated with the same seed.
bool same_training(const Ancestor& a, const Ancestor& b);

// Whether two runs with these seeds began alike: from the very same weights; or at the same step from
// trainings that learn alike and whose seeds differ as those of the runs do. False if that is unknown.
bool begin_alike(const Lineage& a, uint64_t seed_a, const Lineage& b, uint64_t seed_b);

// The compared runs of one side, by what they began from.
struct Origin {
  std::string label;  // the variant's label
  std::vector<const Lineage*> runs;
};

struct Independence {
  // False: the sides differ in a training that runs of one side share, so the scatter of these runs is not
  // that of the difference, and there is no verdict.
  bool independent = true;
  std::string note;  // why, or for which checkpoints alone a verdict holds; one or two sentences, or empty
};

// `paired`: runs at the same index are a pair, and both sides have equally many.
Independence judge_independence(const Origin& candidate, const Origin& baseline, bool paired);

}  // namespace ssgpt::report
