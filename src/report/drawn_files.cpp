#include "report/drawn_files.h"

#include "core/error.h"

#include <system_error>

namespace ssgpt::report {
namespace {

void remove_drawn_file(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  if (error) throw core::RunError("{}: the file cannot be removed: {}", path.string(), error.message());
}

}  // namespace

void remove_drawn_files(const std::filesystem::path& directory,
                        std::initializer_list<std::string_view> pictures) {
  for (const std::string_view picture : pictures) remove_drawn_file(directory / picture);
  remove_drawn_file(directory / "report.html");
}

}  // namespace ssgpt::report
