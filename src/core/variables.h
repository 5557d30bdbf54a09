// Environment variables of this process. An empty one counts as unset: `RANK= ssgpt train` is how a shell
// removes one.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace ssgpt::core {

std::optional<std::string> find_variable(const char* name);

// The variable as a whole number; nullopt where unset. Throws UsageError where it is not a number in [least,
// most].
std::optional<int64_t> find_number_variable(const char* name, int64_t least, int64_t most);

// The variable as one of `choices`; nullopt where unset. Throws UsageError where it is none of them.
std::optional<std::string> find_choice_variable(const char* name,
                                                std::initializer_list<std::string_view> choices);

}  // namespace ssgpt::core
