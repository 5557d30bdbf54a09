// Compares paths by the place they name, and refuses outputs that would overwrite inputs.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace ssgpt::core {

// Whether both paths name the same existing file, following links. False where the system cannot tell.
bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b);

// Whether both paths lead to the same place, which need not exist; links are followed as far as they exist.
// Throws std::filesystem::filesystem_error where the system cannot tell.
bool is_same_path(const std::filesystem::path& a, const std::filesystem::path& b);

// Whether a file written as `path`, which need not exist, would lie in `folder` or below it. If `path` is a
// link, the location of the link itself counts, since writing replaces the link. False where the system
// cannot tell.
bool lies_under(const std::filesystem::path& path, const std::filesystem::path& folder);

// Throws UsageError where `output`, which need not exist, is one of `inputs`. `option` names its command-line
// option in the message: "--output".
void refuse_output_over_input(std::string_view option, const std::filesystem::path& output,
                              const std::vector<std::filesystem::path>& inputs);

}  // namespace ssgpt::core
