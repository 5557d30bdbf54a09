// The parts of a report that are specific to an evaluation of attention (report/evaluation.h writes them).
#pragma once

#include "report/evaluation.h"

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace ssgpt::report {

// The first part of to_table(): for each condition and figure the means over heads and seeds, one row per
// variant and layer; below, how far attention fades from the first point to the last.
std::string attention_table(const Evaluation& evaluation);

// As to_csv(): one row per condition, model, layer, head and point; an empty head is the mean over all heads.
std::string attention_csv(const Evaluation& evaluation);

// Adds to `object`: {"bins": [{"first", "last", "tokens", the key of each figure: its mean over layers and
// heads, the same with "_stderr": over windows}...], "spread_evenly": {"entropy": [...], "weight": [...]},
// "layers": [{the key of each figure: [one value per bin], the same with "_stderr", "heads": [{keys of
// figures}...]}...]}
void add_attention(const Evaluation& evaluation, const EvaluatedModel& model, nlohmann::ordered_json& object);

}  // namespace ssgpt::report
