// Notes on the limits of a comparison of models, apart from what is measured.
#pragma once

#include "data/synthetic.h"
#include "evaluation/conditions.h"
#include "evaluation/subjects.h"
#include "report/variants.h"

#include <vector>

namespace ssgpt::evaluation {

// Notes on runs that are left out; on models whose run is not known; on variants whose seeds are at different
// steps; and on variants whose first model differs from the baseline's in more than attention and seed:
// steps, window length, data, other settings. `baseline`: a subject.
std::vector<report::Note> notes_on_training(const Subjects& subjects, const Subject& baseline);

// Notes on variants without RoPE in any layer, if RoPE is changed in all models.
std::vector<report::Note> notes_on_changes(const Subjects& subjects, const ChangeLists& changes);

// Notes on variants whose shards, by the prepare.json beside them, are not of this task, or have another
// number of symbols or another length than the model was trained with. Ignores shards that cannot be read.
std::vector<report::Note> notes_on_task(const Subjects& subjects, data::SyntheticTask task);

}  // namespace ssgpt::evaluation
