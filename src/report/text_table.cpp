#include "report/text_table.h"

#include "core/check.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>

namespace ssgpt::report {
namespace {

struct Range {
  uint32_t first;
  uint32_t last;
};

constexpr std::array kZeroWidth = {Range{0x0300, 0x036F}, Range{0x0483, 0x0489}, Range{0x0591, 0x05BD},
                                   Range{0x064B, 0x065F}, Range{0x1AB0, 0x1AFF}, Range{0x1DC0, 0x1DFF},
                                   Range{0x200B, 0x200F}, Range{0x20D0, 0x20FF}, Range{0xFE00, 0xFE0F},
                                   Range{0xFE20, 0xFE2F}, Range{0xFEFF, 0xFEFF}};
constexpr std::array kWide = {
    Range{0x1100, 0x115F},   Range{0x2E80, 0x303E},   Range{0x3041, 0x33FF},   Range{0x3400, 0x4DBF},
    Range{0x4E00, 0x9FFF},   Range{0xA000, 0xA4CF},   Range{0xA960, 0xA97F},   Range{0xAC00, 0xD7A3},
    Range{0xF900, 0xFAFF},   Range{0xFE30, 0xFE6F},   Range{0xFF00, 0xFF60},   Range{0xFFE0, 0xFFE6},
    Range{0x1F300, 0x1F64F}, Range{0x1F680, 0x1F6FF}, Range{0x1F900, 0x1F9FF}, Range{0x20000, 0x3FFFD}};

bool contains(std::span<const Range> ranges, uint32_t point) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [point](const Range& r) { return r.first <= point && point <= r.last; });
}

size_t width_of(uint32_t point) {
  if (contains(kZeroWidth, point)) return 0;
  return contains(kWide, point) ? 2 : 1;
}

size_t width_of_valid(std::string_view text) {
  size_t width = 0;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    uint32_t point = lead < 0x80 ? lead : lead < 0xE0 ? lead & 0x1FU : lead < 0xF0 ? lead & 0x0FU : lead & 7U;
    for (; i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U; ++i)
      point = point << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
    width += width_of(point);
  }
  return width;
}

}  // namespace

size_t display_width(std::string_view text) {
  size_t width = 0;
  while (const std::optional<size_t> invalid = core::find_invalid_utf8(text)) {
    width += width_of_valid(text.substr(0, *invalid)) + 1;
    text.remove_prefix(*invalid + 1);
  }
  return width + width_of_valid(text);
}

void TextTable::add(std::vector<std::string> cells) {
  SSGPT_CHECK(cells.size() == columns_.size(), "{} cells in a table of {} columns", cells.size(),
              columns_.size());
  constexpr size_t kMaxCellBytes = 8192;
  for (std::string& cell : cells) cell = core::excerpt(cell, kMaxCellBytes);
  rows_.push_back(std::move(cells));
}

std::string TextTable::text(size_t indent) const {
  constexpr size_t kGap = 2;
  std::vector<size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  const size_t total = std::accumulate(widths.begin(), widths.end(), kGap * (columns_.size() - 1));
  std::string text;
  auto rule = rule_after_.begin();
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line(indent, ' ');
    for (size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string padding(widths[i] - display_width(rows_[r][i]), ' ');
      line.append(i == 0 ? 0 : kGap, ' ');
      line.append(columns_[i] == Align::kLeft ? rows_[r][i] + padding : padding + rows_[r][i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text.append(line).append("\n");
    for (; rule != rule_after_.end() && *rule == r + 1; ++rule)
      text.append(indent, ' ').append(total, '-').append("\n");
  }
  return text;
}

}  // namespace ssgpt::report
