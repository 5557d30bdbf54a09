#include "report/drawn_files.h"

#include "core/error.h"

#include <system_error>

namespace ssgpt::report {

void remove_drawn_files(const std::filesystem::path& directory, std::string_view picture) {
  for (const std::string_view name : {picture, std::string_view("report.html")}) {
    const std::filesystem::path path = directory / name;
    std::error_code error;
    std::filesystem::remove(path, error);
    if (error) throw core::RunError("{}: the file cannot be removed: {}", path.string(), error.message());
  }
}

}  // namespace ssgpt::report
