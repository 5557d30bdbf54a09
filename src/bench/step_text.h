// The reports of ssgpt bench step as tables and as JSON.
#pragma once

#include "bench/step.h"

#include <string>

namespace ssgpt::bench {

std::string to_table(const StepReport& report);
std::string to_json(const StepReport& report);  // one object, with a trailing line break

std::string to_table(const AttentionReport& report);
std::string to_json(const AttentionReport& report);

}  // namespace ssgpt::bench
