// The kinds of attention, one row of a table each: names, titles, learned parameters and texts of help follow
// from it. Knows no tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::config {

// What the scores of a query that attends to n keys are multiplied by, its row scale c = s L[n] + b.
enum class AttentionKind {
  kSoftmax,
  kSoftmaxTemperature,
  kSsmax,
  kSsmaxFixed,
  kSsmaxBias,
  kLearnedPn,
};

// L[n], what multiplies s.
enum class RowPosition {
  kNone,     // there is no row scale: c is 1
  kOne,      // 1
  kLog,      // log n
  kLearned,  // p_n, which starts at log n
};

struct AttentionKindRow {
  AttentionKind kind;
  std::string_view name;       // in configs and files: "ssmax_bias"
  std::string_view title;      // for people, in tables and legends
  std::string_view row_scale;  // c as a formula: "s log n + b"
  RowPosition position;
  bool has_scale;  // s is learned, one a head and layer; otherwise it is 1
  bool has_bias;   // b is learned, one a head and layer; otherwise it is 0
};

// All kinds, in the order in which people see them.
std::span<const AttentionKindRow> attention_kinds();
const AttentionKindRow& row_of(AttentionKind kind);

std::string_view to_string(AttentionKind kind);  // "softmax", "ssmax", ...
std::optional<AttentionKind> parse_attention_kind(std::string_view text);
const std::vector<std::string>& attention_kind_names();

// "softmax 1, softmax_temperature s, ...": each name with its row scale.
std::string list_row_scales();

bool has_row_scale(AttentionKind kind);  // c is not 1 throughout
bool has_scale(AttentionKind kind);
bool has_bias(AttentionKind kind);
bool has_learned_position(AttentionKind kind);

// L[n] of a kind that has a row scale, n >= 1; that of a learned p_n is its start.
double initial_position(AttentionKind kind, int64_t n);

// The mean of L[n] of `from` over that of `to`, n = 1..length: s times this keeps the mean row scale where s
// comes to multiply the other L[n]. Exactly 1 where both are the same. Both kinds have a row scale.
double position_ratio(AttentionKind from, AttentionKind to, int64_t length);

}  // namespace ssgpt::config
