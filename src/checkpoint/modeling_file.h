// python/modeling_ssgpt.py, embedded in the program when it is built.
#pragma once

#include <string_view>

namespace ssgpt::checkpoint {

inline constexpr std::string_view kModelingFileName = "modeling_ssgpt.py";

std::string_view modeling_file();

}  // namespace ssgpt::checkpoint
