// A table whose rows are printed as they come, before the later ones are known: columns of fixed widths.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ssgpt::bench {

class RowFormat {
 public:
  struct Column {
    std::string title;
    size_t width = 0;  // at least; in cells of a terminal
    bool left = false;
  };
  explicit RowFormat(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // The titles and a rule, two lines.
  std::string heading() const;
  // One line, of as many cells as there are columns or fewer; the last may be of any length.
  std::string row(const std::vector<std::string>& cells) const;

 private:
  std::vector<Column> columns_;
};

// The first line of an error, at most as long as a row of a table can be read.
std::string error_cell(const std::string& what);

}  // namespace ssgpt::bench
