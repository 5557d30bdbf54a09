// Which process of how many this is, from the variables that launchers set.
#pragma once

#include <cstdint>

namespace ssgpt::parallel {

struct Environment {
  int64_t rank = 0;
  int64_t world_size = 1;
  bool elastic_agent =
      false;  // started by torchrun, which takes any non-zero exit for a failure and starts again
};

// Reads torchrun's, srun's and mpirun's variables, in this order; none of them: one process. Throws
// core::UsageError for variables that are partial or not numbers, and, since this build trains in one
// process, for more than one: several would each train the whole model into the same directory.
Environment read_environment();

}  // namespace ssgpt::parallel
