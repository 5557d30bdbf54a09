#include "cli/number_checks.h"

#include "core/text.h"

#include <optional>
#include <string>

#include <fmt/format.h>

namespace ssgpt::cli {

CLI::Validator whole_number(int64_t least, int64_t most) {
  const bool open = most == std::numeric_limits<int64_t>::max();
  const std::string range = open ? fmt::format("{} or more", least) : fmt::format("{} to {}", least, most);
  const auto check = [=](const std::string& text) {
    const std::optional<int64_t> number = core::parse_number<int64_t>(text);
    if (number && *number >= least && *number <= most) return std::string();
    return fmt::format("'{}': it must be a whole number, {}.", text, range);
  };
  return {check, "", "whole number"};
}

CLI::Validator seed_number() {
  const auto check = [](const std::string& text) {
    if (core::parse_number<uint64_t>(text)) return std::string();
    return fmt::format("'{}': a seed must be a whole number from 0 to {}.", text,
                       std::numeric_limits<uint64_t>::max());
  };
  return {check, "", "seed"};
}

}  // namespace ssgpt::cli
