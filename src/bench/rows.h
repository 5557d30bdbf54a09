// A table whose rows are printed as results arrive, before later ones are known: columns of fixed widths.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace ssgpt::bench {

class RowFormat {
 public:
  struct Column {
    std::string title;
    size_t width = 0;  // minimum; in terminal cells
    bool left = false;
  };
  explicit RowFormat(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // The titles and a rule: two lines.
  std::string heading() const;
  // One line with at most as many cells as columns; the last may have any length.
  std::string row(const std::vector<std::string>& cells) const;

 private:
  std::vector<Column> columns_;
};

// First line of an error, truncated to fit a row of a table.
std::string error_cell(const std::string& what);

}  // namespace ssgpt::bench
