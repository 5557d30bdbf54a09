#include "config/attention_kind.h"

#include "core/check.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace ssgpt::config {
namespace {

using enum AttentionKind;

constexpr std::array kRows = {
    AttentionKindRow{.kind = kSoftmax,
                     .name = "softmax",
                     .title = "Softmax",
                     .row_scale = "1",
                     .position = RowPosition::kNone,
                     .has_scale = false,
                     .has_bias = false},
    AttentionKindRow{.kind = kSoftmaxTemperature,
                     .name = "softmax_temperature",
                     .title = "Softmax, learned temperature",
                     .row_scale = "s",
                     .position = RowPosition::kOne,
                     .has_scale = true,
                     .has_bias = false},
    AttentionKindRow{.kind = kSsmax,
                     .name = "ssmax",
                     .title = "SSMax",
                     .row_scale = "s log n",
                     .position = RowPosition::kLog,
                     .has_scale = true,
                     .has_bias = false},
    AttentionKindRow{.kind = kSsmaxFixed,
                     .name = "ssmax_fixed",
                     .title = "SSMax, s fixed at 1",
                     .row_scale = "log n",
                     .position = RowPosition::kLog,
                     .has_scale = false,
                     .has_bias = false},
    AttentionKindRow{.kind = kSsmaxBias,
                     .name = "ssmax_bias",
                     .title = "SSMax with bias",
                     .row_scale = "s log n + b",
                     .position = RowPosition::kLog,
                     .has_scale = true,
                     .has_bias = true},
    AttentionKindRow{.kind = kLearnedPn,
                     .name = "learned_pn",
                     .title = "SSMax, learned p_n",
                     .row_scale = "s p_n + b",
                     .position = RowPosition::kLearned,
                     .has_scale = true,
                     .has_bias = true},
};

double sum_of_positions(AttentionKind kind, int64_t length) {
  double sum = 0.0;
  for (int64_t n = 1; n <= length; ++n) sum += initial_position(kind, n);
  return sum;
}

}  // namespace

std::span<const AttentionKindRow> attention_kinds() {
  return kRows;
}

const AttentionKindRow& row_of(AttentionKind kind) {
  const auto found =
      std::find_if(kRows.begin(), kRows.end(), [kind](const auto& row) { return row.kind == kind; });
  SSGPT_CHECK(found != kRows.end(), "attention kind {} has no row", static_cast<int>(kind));
  return *found;
}

std::string_view to_string(AttentionKind kind) {
  return row_of(kind).name;
}

std::optional<AttentionKind> parse_attention_kind(std::string_view text) {
  const auto found =
      std::find_if(kRows.begin(), kRows.end(), [text](const auto& row) { return row.name == text; });
  return found != kRows.end() ? std::optional(found->kind) : std::nullopt;
}

const std::vector<std::string>& attention_kind_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const AttentionKindRow& row : kRows) list.emplace_back(row.name);
    return list;
  }();
  return names;
}

std::string list_row_scales() {
  std::string text;
  for (const AttentionKindRow& row : kRows) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", row.name, row.row_scale);
  }
  return text;
}

bool has_row_scale(AttentionKind kind) {
  return row_of(kind).position != RowPosition::kNone;
}
bool has_scale(AttentionKind kind) {
  return row_of(kind).has_scale;
}
bool has_bias(AttentionKind kind) {
  return row_of(kind).has_bias;
}
bool has_learned_position(AttentionKind kind) {
  return row_of(kind).position == RowPosition::kLearned;
}

double initial_position(AttentionKind kind, int64_t n) {
  switch (row_of(kind).position) {
    case RowPosition::kOne:
      return 1.0;
    case RowPosition::kLog:
    case RowPosition::kLearned:
      return std::log(static_cast<double>(n));
    case RowPosition::kNone:
      break;
  }
  SSGPT_CHECK(false, "{} has no row scale", to_string(kind));
}

double position_ratio(AttentionKind from, AttentionKind to, int64_t length) {
  const double before = sum_of_positions(from, length);
  const double after = sum_of_positions(to, length);
  return before == after ? 1.0 : before / after;
}

}  // namespace ssgpt::config
