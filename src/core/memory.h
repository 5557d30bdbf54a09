// Memory use of this process, as the system counts it.
#pragma once

#include <cstdint>

namespace ssgpt::core {

// Resident set size in bytes, including libraries; 0 where the system does not report it.
uint64_t resident_bytes();

// Peak resident set size in bytes; 0 where the system does not report it.
uint64_t peak_resident_bytes();

}  // namespace ssgpt::core
