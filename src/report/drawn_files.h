// The files that scripts/report.py draws in a folder of this program's output.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <string_view>

namespace ssgpt::report {

// Removes `pictures` and report.html from `directory`, if present, so that nothing drawn from earlier numbers
// remains beside new ones. Throws core::RunError that names the file.
void remove_drawn_files(const std::filesystem::path& directory,
                        std::initializer_list<std::string_view> pictures);

}  // namespace ssgpt::report
