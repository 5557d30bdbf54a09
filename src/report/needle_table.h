// What the table of an evaluation of needles says of the attention on them.
#pragma once

#include "report/evaluation.h"

#include <string>

namespace ssgpt::report {

// A row for each point and variant: the top head of each seed with its mean weight, and by the outcome of
// trials the mean of their largest weights, with a line above that is empty. Empty where no attention was
// measured.
std::string needle_attention_text(const Evaluation& evaluation, const EvaluatedCondition& condition);

}  // namespace ssgpt::report
