// Version of this program, set by CMake at each build.
#pragma once

namespace ssgpt::core {

const char* version();         // "0.1.0"
const char* git_revision();    // "a1b2c3d4e5f6", with "-dirty" after it where tracked files were changed;
                               // "unknown" without git
const char* headers_digest();  // SHA-256 of all our headers: other types or tables have another

}  // namespace ssgpt::core
