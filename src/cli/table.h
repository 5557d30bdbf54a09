// Plain aligned columns for results on stdout.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ssgpt::cli {

class Table {
 public:
  enum class Align { kLeft, kRight };

  explicit Table(std::vector<Align> columns) : columns_(std::move(columns)) {}

  // As many cells as there are columns.
  void add(std::vector<std::string> cells);

  // One line a row, columns two blanks apart, each row indented by `indent` blanks, no blanks at the end.
  std::string text(size_t indent = 0) const;

 private:
  std::vector<Align> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ssgpt::cli
