// Which paths are one place, and whether what is going to be written would replace what is read.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace ssgpt::core {

// Whether both paths name one file that exists, links followed. False where the system does not say.
bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b);

// Whether both paths lead to one place, which need not exist: links in them followed as far as they do.
// Throws std::filesystem::filesystem_error where the system does not say.
bool is_same_path(const std::filesystem::path& a, const std::filesystem::path& b);

// Whether a file written as `path`, which need not exist, stands in `folder` or in a folder below it. A link
// under that name counts for where it stands itself: it is what is replaced. False where the system does not
// say.
bool lies_under(const std::filesystem::path& path, const std::filesystem::path& folder);

// Throws UsageError where `output`, which need not exist, is one of `inputs`. `option`: what it comes from,
// for the message, as in "--output".
void refuse_output_over_input(std::string_view option, const std::filesystem::path& output,
                              const std::vector<std::filesystem::path>& inputs);

}  // namespace ssgpt::core
