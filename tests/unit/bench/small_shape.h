// A shape whose operations take no time.
#pragma once

#include "bench/kernel_cases.h"

namespace ssgpt::bench {

inline const KernelShape kSmallShape = {.name = "small",
                                        .layers = 3,
                                        .batch = 2,
                                        .time = 24,
                                        .hidden = 32,
                                        .heads = 2,
                                        .ff = 40,
                                        .vocab = 96,
                                        .flat = 5000};

}  // namespace ssgpt::bench
