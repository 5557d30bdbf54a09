// The attention on needles, in the table of an evaluation of needles.
#pragma once

#include "report/evaluation.h"

#include <string>

namespace ssgpt::report {

// One row per point and variant: each seed's top head with its mean weight, and for each outcome the mean
// over its trials of their largest weights; preceded by an empty line. Empty if attention was not measured.
std::string needle_attention_text(const Evaluation& evaluation, const EvaluatedCondition& condition);

}  // namespace ssgpt::report
