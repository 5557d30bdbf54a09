// Plain aligned columns for results on stdout.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ssgpt::report {

// Number of terminal cells that UTF-8 text occupies: none for combining marks, two for East Asian wide
// characters and emoji (Unicode's East Asian Width W and F, by blocks), one for a byte that is not UTF-8.
size_t display_width(std::string_view text);

class TextTable {
 public:
  enum class Align { kLeft, kRight };

  explicit TextTable(std::vector<Align> columns) : columns_(std::move(columns)) {}

  // Adds a row with as many cells as there are columns. Cell text that quotes a file is made printable, put
  // on one line, and truncated if longer than any path.
  void add(std::vector<std::string> cells);

  // Adds a rule as wide as the table, below the rows so far.
  void add_rule() { rule_after_.push_back(rows_.size()); }

  // One line per row, columns two blanks apart, each row indented by `indent` blanks, no trailing blanks.
  std::string text(size_t indent = 0) const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<size_t> rule_after_;  // numbers of rows, ascending
};

}  // namespace ssgpt::report
