// The kinds of attention, each one row of a table, from which names, titles, row scales, learned parameters
// and help texts follow. Knows no tensors.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::config {

// A kind of attention, in which the scores of a query that attends to n keys are multiplied by the row scale
// c = s L[n] + b. The enumerator's value is the index of the kind's row. A kind that no code refers to by
// name has a row but no enumerator.
enum class AttentionKind {
  kSoftmax,
  kSoftmaxTemperature,
  kSsmax,
  kSsmaxFixed,
  kSsmaxBias,
  kLearnedPn,
  kLognClamped,
  kLlama4Temperature,
};

// Constants that L[n] may depend on besides n. The names are Hugging Face's.
struct PositionConstants {
  int64_t trained_length = 0;  // T, tokens per training sequence
  double attn_scale = 0.1;     // a, as in Llama 4
  int64_t floor_scale = 8192;  // f, keys, as in Llama 4
};
inline constexpr double kMaxAttnScale = 1000.0;              // attn_scale is above 0 and at most this
inline constexpr int64_t kMaxFloorScale = int64_t{1} << 24;  // floor_scale is from 1 to this

inline bool is_attn_scale(double value) {
  return value > 0.0 && value <= kMaxAttnScale;
}

struct AttentionKindRow {
  std::string_view name;       // in configs and files: "ssmax_bias"
  std::string_view title;      // displayed in tables and legends
  std::string_view row_scale;  // c as a formula: "s log n + b"
  // L[n], n >= 1. Null: no row scale, c = 1, and the attention is the same as Llama's.
  double (*position)(double n, const PositionConstants& constants) = nullptr;
  bool learns_position = false;  // a learned p_n for each n replaces L[n], its initial value
  bool has_scale = false;        // s is learned, one per head and layer; otherwise it is 1
  bool has_bias = false;         // b is learned, one per head and layer; otherwise it is 0
  bool has_floor = false;        // L[n] reads attn_scale and floor_scale
};

// All kinds, in display order.
std::span<const AttentionKindRow> attention_kinds();
const AttentionKindRow& row_of(AttentionKind kind);
AttentionKind kind_of(const AttentionKindRow& row);  // `row` is an element of attention_kinds()

std::string_view to_string(AttentionKind kind);  // "softmax", "ssmax", ...
std::optional<AttentionKind> parse_attention_kind(std::string_view text);
const std::vector<std::string>& attention_kind_names();

// "softmax: 1; softmax_temperature: s; ...": each name with its row scale.
std::string list_row_scales();

bool has_row_scale(AttentionKind kind);  // c is not 1 throughout
bool has_scale(AttentionKind kind);
bool has_bias(AttentionKind kind);
bool has_learned_position(AttentionKind kind);
bool has_floor(AttentionKind kind);
// Names of the kinds that use attn_scale and floor_scale, separated by commas.
std::string names_with_floor();

// Initial values of a learned p_n: log n, or for every n the mean of log n, so that its shape is learned from
// the data alone. The mean row scale is the same.
enum class PnInit { kLogN, kFlat };
inline constexpr std::array kPnInits = {PnInit::kLogN, PnInit::kFlat};
std::string_view to_string(PnInit init);  // "log_n", "flat"

struct AttentionConfig {
  AttentionKind kind = AttentionKind::kSoftmax;
  std::optional<double> scale_init;  // nullopt: auto, see resolved_scale_init
  double bias_init = 0.0;
  std::optional<double> attn_scale = {};    // nullopt: auto, the default in PositionConstants
  std::optional<int64_t> floor_scale = {};  // likewise
  PnInit pn_init = PnInit::kLogN;
};

// Constants of a model with this attention, trained on sequences of `trained_length` tokens.
PositionConstants position_constants(const AttentionConfig& attention, int64_t trained_length);

// L[n], n >= 1, for a kind with a row scale; for a learned p_n, its initial value.
double initial_position(AttentionKind kind, const PositionConstants& constants, int64_t n);

// Mean of L[n] over n = 1..length, for training sequences of `length` tokens. The kind has a row scale.
double mean_position(const AttentionConfig& attention, int64_t length);

// Mean of L[n] in `from` divided by that in `to`: multiplying s by this ratio keeps the mean row scale when
// L[n] changes. Exactly 1 where both are equal. Both kinds have a row scale.
double position_ratio(const AttentionConfig& from, const AttentionConfig& to, int64_t length);

// Initial s of a kind that has it. auto: 1 / mean(L[n]), n = 1..sequence_length, so that the mean row scale
// is 1 (0.168 for ssmax with 1,024 positions; arXiv 2501.19399, section 4). A number is the s of ssmax; for a
// kind with another L[n] it is multiplied by mean(log n) / mean(L[n]), so that the mean row scale equals that
// of ssmax.
double resolved_scale_init(const AttentionConfig& attention, int64_t sequence_length);

}  // namespace ssgpt::config
