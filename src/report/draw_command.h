// The command that draws this program's output: scripts/report.py, which a build, an installation and an
// archive have in different places.
#pragma once

#include <filesystem>
#include <string>

namespace ssgpt::report {

// The command line, for a shell, that draws the output in `folder`. The script is the one that belongs to
// `program`, the path of the running executable, and the python is that of the repository if it has one.
// Paths below the directory `here` are relative to it. Without a script: "scripts/report.py FOLDER".
std::string draw_command(const std::filesystem::path& folder, const std::filesystem::path& program,
                         const std::filesystem::path& here);

// The same for this process.
std::string draw_command(const std::filesystem::path& folder);

}  // namespace ssgpt::report
