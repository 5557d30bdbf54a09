#include "core/check.h"

#include <string_view>

namespace ssgpt::core {

void fail_check(const char* condition, const std::string& message, const std::source_location& where) {
  std::string_view file = where.file_name();
  if (const size_t source = file.rfind("/src/"); source != std::string_view::npos) {
    file.remove_prefix(source + 1);
  }
  throw InternalError(fmt::format("{} (check \"{}\" failed at {}:{} in {})", message, condition, file,
                                  where.line(), where.function_name()));
}

}  // namespace ssgpt::core
