#include "core/system_message.h"

#include <cerrno>
#include <sys/resource.h>
#include <system_error>

#include <fmt/format.h>

namespace ssgpt::core {

std::string system_message(int error) {
  std::string text = std::system_category().message(error);
  rlimit limit{};
  if (error == EMFILE && ::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    text += fmt::format(
        ". This process may have {} files open (RLIMIT_NOFILE): raise the limit, with `ulimit -n` or in "
        "/etc/security/limits.conf, or use fewer and larger files",
        limit.rlim_cur);
  }
  return text;
}

}  // namespace ssgpt::core
