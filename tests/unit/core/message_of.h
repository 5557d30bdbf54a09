// The message of an exception, for tests of messages.
#pragma once

#include <string>

namespace ssgpt {

// The message of the exception of type Exception that `action` throws; "nothing was thrown" where it returns.
template <typename Exception, typename Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace ssgpt
