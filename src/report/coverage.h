// Which runs reach the end of a comparison, and what of each run it leaves out.
#pragma once

#include "report/grid.h"
#include "report/run_data.h"
#include "report/variants.h"

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::report {

// A run beside the end of its comparison.
struct Ending {
  bool compared = false;  // false: left out, for it repeats an earlier run or has not come to the end yet
  bool stopped = false;   // before its last step, where other runs went on, and no process trains it
};

// The end of a comparison is the last step of the longest run of the baseline that a run of another variant
// reaches too. A run that is not finished and ends before that, by more than one logging interval, is left
// out. One that was configured to end before is not: it bounds what all are compared over. `runs`: of all
// variants; the result is in their order.
std::vector<Ending> endings(std::span<const RunData> runs, std::span<const Variant> variants,
                            size_t baseline);

// Runs that are left out or go on beyond the shared steps, are not finished, have a torn last line, have
// losses that are not finite, or log at other steps; and a warning where the shared steps are less than half
// of what the longest run has. `grid`: the shared_stretches of those that are compared, not empty.
std::vector<Note> coverage_notes(std::span<const RunData> runs, std::span<const Ending> endings,
                                 std::span<const Stretch> grid);

// The warning of coverage_notes where the shared steps are less than half of what the longest run has; empty
// where they are not.
std::string short_comparison(std::span<const RunData> runs, std::span<const Ending> endings,
                             std::span<const Stretch> grid);

}  // namespace ssgpt::report
