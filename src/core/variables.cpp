#include "core/variables.h"

#include "core/error.h"
#include "core/text.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::core {

std::optional<std::string> find_variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? std::nullopt : std::optional<std::string>(text);
}

std::optional<int64_t> find_number_variable(const char* name, int64_t least, int64_t most) {
  const std::optional<std::string> text = find_variable(name);
  if (!text) return std::nullopt;
  const std::optional<int64_t> number = parse_number<int64_t>(*text);
  if (!number || *number < least || *number > most) {
    throw UsageError("The environment variable {}={} is not a whole number from {} to {}.", name, *text,
                     least, most);
  }
  return number;
}

std::optional<std::string> find_choice_variable(const char* name,
                                                std::initializer_list<std::string_view> choices) {
  const std::optional<std::string> text = find_variable(name);
  if (!text || std::find(choices.begin(), choices.end(), *text) != choices.end()) return text;
  throw UsageError("The environment variable {}={} is none of: {}.", name, *text, fmt::join(choices, ", "));
}

}  // namespace ssgpt::core
