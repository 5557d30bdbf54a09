// What limits a comparison of models, beside what is measured of them.
#pragma once

#include "data/synthetic.h"
#include "evaluation/conditions.h"
#include "evaluation/subjects.h"
#include "report/variants.h"

#include <vector>

namespace ssgpt::evaluation {

// Runs that are left out; variants whose seeds stand at different steps; where the first of a variant and of
// the baseline's differ in more than attention and seed: steps, length of the windows, data, other settings.
// `baseline`: a subject.
std::vector<report::Note> notes_on_training(const Subjects& subjects, const Subject& baseline);

// Variants without RoPE in any layer, where RoPE is changed in all models.
std::vector<report::Note> notes_on_changes(const Subjects& subjects, const ChangeLists& changes);

// Variants whose shards are, by the prepare.json beside them, not of this task, or over another number of
// symbols or of another length than the model was trained with. Says nothing of shards that cannot be read.
std::vector<report::Note> notes_on_task(const Subjects& subjects, data::SyntheticTask task);

}  // namespace ssgpt::evaluation
