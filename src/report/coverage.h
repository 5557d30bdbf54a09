// What of each run a comparison leaves out.
#pragma once

#include "report/grid.h"
#include "report/run_data.h"
#include "report/variants.h"

#include <span>
#include <vector>

namespace ssgpt::report {

// Runs that go on beyond the shared steps, are not finished, have a torn last line, have losses that are not
// finite, or log at other steps. `grid`: the runs' shared_stretches, not
// empty.
std::vector<Note> coverage_notes(std::span<const RunData> runs, std::span<const Stretch> grid);

}  // namespace ssgpt::report
