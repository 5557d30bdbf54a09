#include "bench/rows.h"

#include "core/check.h"
#include "report/text_table.h"

#include <algorithm>

namespace ssgpt::bench {
namespace {

constexpr size_t kIndent = 2;
constexpr size_t kBetween = 2;

}  // namespace

std::string RowFormat::row(const std::vector<std::string>& cells) const {
  SSGPT_CHECK(cells.size() <= columns_.size(), "{} cells in {} columns", cells.size(), columns_.size());
  std::string line(kIndent, ' ');
  for (size_t i = 0; i < cells.size(); ++i) {
    const Column& column = columns_[i];
    const size_t width = std::max(column.width, report::display_width(column.title));
    const size_t taken = report::display_width(cells[i]);
    const std::string fill(width > taken ? width - taken : 0, ' ');
    if (i > 0) line.append(kBetween, ' ');
    line += column.left ? cells[i] + fill : fill + cells[i];
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string RowFormat::heading() const {
  std::vector<std::string> titles;
  size_t width = 0;
  for (const Column& column : columns_) {
    titles.push_back(column.title);
    width += std::max(column.width, report::display_width(column.title)) + (width > 0 ? kBetween : 0);
  }
  return row(titles) + std::string(kIndent, ' ') + std::string(width, '-') + "\n";
}

std::string error_cell(const std::string& what) {
  constexpr size_t kLongest = 100;
  const std::string line = what.substr(0, what.find('\n'));
  return line.size() <= kLongest ? line : line.substr(0, kLongest) + "...";
}

}  // namespace ssgpt::bench
