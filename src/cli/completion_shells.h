// The shell code in src/cli/completion, embedded in the program when it is built.
#pragma once

#include <string_view>

namespace ssgpt::cli {

std::string_view completion_code_common();  // of bash and zsh
std::string_view completion_code_bash();
std::string_view completion_code_zsh();
std::string_view completion_code_fish();

}  // namespace ssgpt::cli
