// Which runs reach the end of a comparison, and what of each run is left out.
#pragma once

#include "report/grid.h"
#include "report/run_data.h"
#include "report/variants.h"

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::report {

// How a run stands relative to the end of its comparison.
struct Ending {
  bool compared = false;  // false: left out, since it repeats an earlier run or has not reached the end yet
  bool stopped = false;   // before its last step, while other runs continued, and no process is training it
};

// The end of a comparison is the last step of the longest baseline run that a run of another variant also
// reaches. An unfinished run that ends before that, by more than one logging interval, is left out. A run
// that was configured to end earlier is not left out: it limits what all are compared over. `runs`: those of
// all variants; the result is in their order.
std::vector<Ending> endings(std::span<const RunData> runs, std::span<const Variant> variants,
                            size_t baseline);

// Notes on runs that are left out or continue beyond the shared steps, are unfinished, have a torn last line,
// have non-finite losses, or log at other steps; and a warning if the shared steps are less than half of
// those of the longest run. `grid`: the shared_stretches of the compared runs, not empty.
std::vector<Note> coverage_notes(std::span<const RunData> runs, std::span<const Ending> endings,
                                 std::span<const Stretch> grid);

// The warning of coverage_notes if the shared steps are less than half of those of the longest run; otherwise
// empty.
std::string short_comparison(std::span<const RunData> runs, std::span<const Ending> endings,
                             std::span<const Stretch> grid);

}  // namespace ssgpt::report
