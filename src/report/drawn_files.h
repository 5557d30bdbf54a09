// What scripts/report.py makes in a folder of this program's output.
#pragma once

#include <filesystem>
#include <string_view>

namespace ssgpt::report {

// Removes `picture` and report.html from `directory`, where they are, so that nothing drawn from earlier
// numbers stands beside new ones. Throws core::RunError that names the file.
void remove_drawn_files(const std::filesystem::path& directory, std::string_view picture);

}  // namespace ssgpt::report
