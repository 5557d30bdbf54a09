#include "core/outputs.h"

#include "core/error.h"

#include <algorithm>
#include <system_error>

namespace ssgpt::core {

bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

bool is_same_path(const std::filesystem::path& a, const std::filesystem::path& b) {
  return std::filesystem::weakly_canonical(a) == std::filesystem::weakly_canonical(b);
}

bool lies_under(const std::filesystem::path& path, const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::path top = std::filesystem::canonical(folder, error);
  if (error) return false;
  // Absolute first: weakly_canonical() leaves a relative path relative where no part of it exists.
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return false;
  const std::filesystem::path parent = std::filesystem::weakly_canonical(absolute.parent_path(), error);
  return !error && std::mismatch(top.begin(), top.end(), parent.begin(), parent.end()).first == top.end();
}

void refuse_output_over_input(std::string_view option, const std::filesystem::path& output,
                              const std::vector<std::filesystem::path>& inputs) {
  for (const std::filesystem::path& input : inputs) {
    if (is_same_file(input, output))
      throw UsageError("{} {}: it is an input as well; write to another place.", option, output.string());
  }
}

}  // namespace ssgpt::core
