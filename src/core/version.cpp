#include "core/version.h"

#include "revision.h"  // generated: SSGPT_GIT_REVISION

namespace ssgpt::core {

const char* version() {
  return SSGPT_VERSION;
}

const char* git_revision() {
  return SSGPT_GIT_REVISION;
}

}  // namespace ssgpt::core
