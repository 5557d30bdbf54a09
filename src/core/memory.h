// What this process holds of the machine's memory, as the system counts it.
#pragma once

#include <cstdint>

namespace ssgpt::core {

// Resident set, libraries included, in bytes; 0 where the system does not say.
uint64_t resident_bytes();

// The largest that the resident set has been.
uint64_t peak_resident_bytes();

}  // namespace ssgpt::core
