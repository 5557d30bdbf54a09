#include "core/error.h"

#include "core/text.h"

namespace ssgpt::core {

Error::Error(ExitCode code, const std::string& message)
    : std::runtime_error(message_text(message)), code_(code) {}

}  // namespace ssgpt::core
