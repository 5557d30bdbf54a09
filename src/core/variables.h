// Environment variables of this process. An empty one is as good as none: `RANK= ssgpt train` is how a shell
// takes one away.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace ssgpt::core {

std::optional<std::string> find_variable(const char* name);

// As a whole number. Throws UsageError where it is none, or not in [least, most].
std::optional<int64_t> find_number_variable(const char* name, int64_t least, int64_t most);

// As one of `choices`. Throws UsageError where it is none of them.
std::optional<std::string> find_choice_variable(const char* name,
                                                std::initializer_list<std::string_view> choices);

}  // namespace ssgpt::core
