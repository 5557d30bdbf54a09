// Plain aligned columns for results on stdout.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ssgpt::report {

// Cells of a terminal that UTF-8 text takes: combining marks take none, East Asian wide characters and emoji
// two (Unicode's East Asian Width W and F, by blocks), a byte that is not UTF-8 one.
size_t display_width(std::string_view text);

class TextTable {
 public:
  enum class Align { kLeft, kRight };

  explicit TextTable(std::vector<Align> columns) : columns_(std::move(columns)) {}

  // As many cells as there are columns. What a cell quotes of a file is made printable, on one line, and cut
  // where it is longer than any path.
  void add(std::vector<std::string> cells);

  // A line as wide as the table, below the rows so far.
  void add_rule() { rule_after_.push_back(rows_.size()); }

  // One line a row, columns two blanks apart, each row indented by `indent` blanks, no blanks at the end.
  std::string text(size_t indent = 0) const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> rule_after_;  // numbers of rows, rising
};

}  // namespace ssgpt::report
