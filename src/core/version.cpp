#include "core/version.h"

#include "revision.h"  // generated: SSGPT_GIT_REVISION, SSGPT_HEADERS_DIGEST

namespace ssgpt::core {

const char* version() {
  return SSGPT_VERSION;
}

const char* git_revision() {
  return SSGPT_GIT_REVISION;
}

const char* headers_digest() {
  return SSGPT_HEADERS_DIGEST;
}

}  // namespace ssgpt::core
