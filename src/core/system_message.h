// Describes failed system calls.
#pragma once

#include <string>

namespace ssgpt::core {

// Text for an errno value: "No space left on device". For EMFILE it also gives the limit on open files and
// how to raise it. Thread-safe, unlike std::strerror.
std::string system_message(int error);

}  // namespace ssgpt::core
