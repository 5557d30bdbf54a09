#include "report/draw_command.h"

#include "core/text.h"

#include <optional>
#include <system_error>

#include <fmt/format.h>

namespace ssgpt::report {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// Relative to the program's folder: an installation, an archive (lib/ssgpt/ssgpt), a build of the repository.
// The repository is last, since build/release/ssgpt and ~/.local/bin/ssgpt are equally deep.
std::optional<fs::path> find_scripts(const fs::path& program) {
  for (const char* place : {"../share/ssgpt/scripts", "../../share/ssgpt/scripts", "../../scripts"}) {
    const fs::path scripts = (program.parent_path() / place).lexically_normal();
    if (is_there(scripts / "report.py") && is_there(scripts / "report_page")) return scripts;
  }
  return std::nullopt;
}

std::string as_word(const fs::path& path, const fs::path& here) {
  const fs::path relative = path.lexically_relative(here);
  const bool is_below = !relative.empty() && *relative.begin() != "..";
  return core::shell_word(is_below ? relative.string() : path.string());
}

}  // namespace

std::string draw_command(const fs::path& folder, const fs::path& program, const fs::path& here) {
  const std::string target = core::shell_word(folder.string());
  const std::optional<fs::path> scripts = find_scripts(program);
  if (!scripts) return "scripts/report.py " + target;
  const fs::path python = scripts->parent_path() / ".venv/bin/python";
  return fmt::format("{} {} {}", is_there(python) ? as_word(python, here) : "python3",
                     as_word(*scripts / "report.py", here), target);
}

std::string draw_command(const fs::path& folder) {
  std::error_code error;  // leaves the paths empty
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return draw_command(folder, program, fs::current_path(error));
}

}  // namespace ssgpt::report
