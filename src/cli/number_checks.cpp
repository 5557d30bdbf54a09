#include "cli/number_checks.h"

#include "core/text.h"

#include <optional>
#include <string>

#include <fmt/format.h>

namespace ssgpt::cli {

CLI::Validator whole_number(int64_t least, int64_t most) {
  const bool open = most == std::numeric_limits<int64_t>::max();
  const std::string range = open ? fmt::format("{} or more", least) : fmt::format("{} to {}", least, most);
  const auto check = [=](std::string& text) {
    const std::optional<int64_t> number = core::parse_number<int64_t>(text);
    if (!number || *number < least || *number > most)
      return fmt::format("'{}': it must be a whole number, {}.", text, range);
    text = fmt::format("{}", *number);
    return std::string();
  };
  return {check, "", "whole number"};
}

CLI::Validator seed_number() {
  const auto check = [](std::string& text) {
    const std::optional<uint64_t> number = core::parse_number<uint64_t>(text);
    if (!number) {
      return fmt::format("'{}': a seed must be a whole number from 0 to {}.", text,
                         std::numeric_limits<uint64_t>::max());
    }
    text = fmt::format("{}", *number);
    return std::string();
  };
  return {check, "", "seed"};
}

CLI::Validator number() {
  const auto check = [](std::string& text) {
    if (core::parse_number<double>(text)) return std::string();
    return fmt::format("'{}': it must be a number.", text);
  };
  return {check, "", "number"};
}

CLI::Validator positive_number() {
  const auto check = [](std::string& text) {
    const std::optional<double> number = core::parse_number<double>(text);
    if (number && *number > 0.0) return std::string();
    return fmt::format("'{}': it must be a number above 0.", text);
  };
  return {check, "", "number above 0"};
}

}  // namespace ssgpt::cli
