// What the system says of a failed call.
#pragma once

#include <string>
#include <system_error>

namespace ssgpt::core {

// The text of an errno value: "No space left on device". Safe from any thread, unlike std::strerror.
inline std::string system_message(int error) {
  return std::system_category().message(error);
}

}  // namespace ssgpt::core
