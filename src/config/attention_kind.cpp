#include "config/attention_kind.h"

#include "core/check.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::config {
namespace {

double position_of_one(double /*n*/, const PositionConstants& /*constants*/) {
  return 1.0;
}

double position_of_log(double n, const PositionConstants& /*constants*/) {
  return std::log(n);
}

// The logn attention of the first Qwen. T is at least 2, since log 1 = 0 cannot divide.
double position_of_clamped_log(double n, const PositionConstants& constants) {
  const auto trained_length = static_cast<double>(std::max<int64_t>(2, constants.trained_length));
  return std::max(1.0, std::log(n) / std::log(trained_length));
}

// Llama 4's temperature tuning (transformers, Llama4TextAttention), where n is the position counted from 1.
double position_of_floor(double n, const PositionConstants& constants) {
  return 1.0 + constants.attn_scale * std::log1p(std::floor(n / static_cast<double>(constants.floor_scale)));
}

constexpr std::array kRows = {
    AttentionKindRow{.name = "softmax", .title = "Softmax", .row_scale = "1"},
    AttentionKindRow{.name = "softmax_temperature",
                     .title = "Softmax, learned temperature",
                     .row_scale = "s",
                     .position = position_of_one,
                     .has_scale = true},
    AttentionKindRow{.name = "ssmax",
                     .title = "SSMax",
                     .row_scale = "s log n",
                     .position = position_of_log,
                     .has_scale = true},
    AttentionKindRow{.name = "ssmax_fixed",
                     .title = "SSMax, s fixed at 1",
                     .row_scale = "log n",
                     .position = position_of_log},
    AttentionKindRow{.name = "ssmax_bias",
                     .title = "SSMax with bias",
                     .row_scale = "s log n + b",
                     .position = position_of_log,
                     .has_scale = true,
                     .has_bias = true},
    AttentionKindRow{.name = "learned_pn",
                     .title = "SSMax, learned p_n",
                     .row_scale = "s p_n + b",
                     .position = position_of_log,
                     .learns_position = true,
                     .has_scale = true,
                     .has_bias = true},
    AttentionKindRow{.name = "logn_clamped",
                     .title = "Softmax, log n clamped",
                     .row_scale = "max(1, log n / log T)",
                     .position = position_of_clamped_log},
    AttentionKindRow{.name = "llama4_temperature",
                     .title = "Softmax, Llama 4's temperature",
                     .row_scale = "1 + a log(floor(n / f) + 1)",
                     .position = position_of_floor,
                     .has_floor = true},
};

using enum AttentionKind;

constexpr bool row_is_named(AttentionKind kind, std::string_view name) {
  return kRows.at(static_cast<size_t>(kind)).name == name;
}
static_assert(row_is_named(kSoftmax, "softmax") && row_is_named(kSoftmaxTemperature, "softmax_temperature") &&
                  row_is_named(kSsmax, "ssmax") && row_is_named(kSsmaxFixed, "ssmax_fixed") &&
                  row_is_named(kSsmaxBias, "ssmax_bias") && row_is_named(kLearnedPn, "learned_pn") &&
                  row_is_named(kLognClamped, "logn_clamped") &&
                  row_is_named(kLlama4Temperature, "llama4_temperature"),
              "an enumerator is the index of its kind's row: new rows go behind these");

double sum_of_positions(const AttentionConfig& attention, int64_t length) {
  const PositionConstants constants = position_constants(attention, length);
  double sum = 0.0;
  for (int64_t n = 1; n <= length; ++n) sum += initial_position(attention.kind, constants, n);
  return sum;
}

}  // namespace

std::span<const AttentionKindRow> attention_kinds() {
  return kRows;
}

const AttentionKindRow& row_of(AttentionKind kind) {
  const auto index = static_cast<size_t>(kind);
  SSGPT_CHECK(index < kRows.size(), "attention kind {} has no row", index);
  return kRows[index];
}

AttentionKind kind_of(const AttentionKindRow& row) {
  return static_cast<AttentionKind>(&row - kRows.data());
}

std::string_view to_string(PnInit init) {
  return init == PnInit::kFlat ? "flat" : "log_n";
}

std::string_view to_string(AttentionKind kind) {
  return row_of(kind).name;
}

std::optional<AttentionKind> parse_attention_kind(std::string_view text) {
  const auto found =
      std::find_if(kRows.begin(), kRows.end(), [text](const auto& row) { return row.name == text; });
  return found != kRows.end() ? std::optional(kind_of(*found)) : std::nullopt;
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
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", row.name, row.row_scale);
  }
  return text;
}

bool has_row_scale(AttentionKind kind) {
  return row_of(kind).position != nullptr;
}
bool has_scale(AttentionKind kind) {
  return row_of(kind).has_scale;
}
bool has_bias(AttentionKind kind) {
  return row_of(kind).has_bias;
}
bool has_learned_position(AttentionKind kind) {
  return row_of(kind).learns_position;
}
bool has_floor(AttentionKind kind) {
  return row_of(kind).has_floor;
}

std::string names_with_floor() {
  std::vector<std::string_view> names;
  for (const AttentionKindRow& row : kRows) {
    if (row.has_floor) names.push_back(row.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

PositionConstants position_constants(const AttentionConfig& attention, int64_t trained_length) {
  PositionConstants constants;
  constants.trained_length = trained_length;
  if (attention.attn_scale) constants.attn_scale = *attention.attn_scale;
  if (attention.floor_scale) constants.floor_scale = *attention.floor_scale;
  return constants;
}

double initial_position(AttentionKind kind, const PositionConstants& constants, int64_t n) {
  SSGPT_CHECK(has_row_scale(kind), "{} has no row scale", to_string(kind));
  return row_of(kind).position(static_cast<double>(n), constants);
}

double mean_position(const AttentionConfig& attention, int64_t length) {
  return sum_of_positions(attention, length) / static_cast<double>(length);
}

double position_ratio(const AttentionConfig& from, const AttentionConfig& to, int64_t length) {
  const double before = sum_of_positions(from, length);
  const double after = sum_of_positions(to, length);
  return before == after ? 1.0 : before / after;
}

double resolved_scale_init(const AttentionConfig& attention, int64_t sequence_length) {
  if (attention.scale_init) {
    AttentionConfig ssmax;
    ssmax.kind = kSsmax;
    return *attention.scale_init * position_ratio(ssmax, attention, sequence_length);
  }
  SSGPT_CHECK(sequence_length >= 2, "no scale for sequences of length {}", sequence_length);
  AttentionConfig temperature;
  temperature.kind = kSoftmaxTemperature;
  return position_ratio(temperature, attention, sequence_length);
}

}  // namespace ssgpt::config
