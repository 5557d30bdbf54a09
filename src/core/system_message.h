// What the system says of a failed call.
#pragma once

#include <string>

namespace ssgpt::core {

// The text of an errno value: "No space left on device". Where the process has reached its limit of open
// files, also what that limit is and how it is raised. Safe from any thread, unlike std::strerror.
std::string system_message(int error);

}  // namespace ssgpt::core
