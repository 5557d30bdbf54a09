// The kinds of attention, one row of a table each: names, titles, what multiplies the scores, learned
// parameters and texts of help follow from it. Knows no tensors.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::config {

// What the scores of a query that attends to n keys are multiplied by, its row scale c = s L[n] + b. The
// value is the index of the kind's row. A kind that no line of code speaks of by name has a row and no
// enumerator.
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

// What a function of n may depend on besides n. The names are Hugging Face's.
struct PositionConstants {
  int64_t trained_length = 0;  // T, tokens in a window of training
  double attn_scale = 0.1;     // a, as in Llama 4
  int64_t floor_scale = 8192;  // f, keys, as in Llama 4
};
inline constexpr double kMaxAttnScale = 1000.0;              // attn_scale is above 0, and at most this
inline constexpr int64_t kMaxFloorScale = int64_t{1} << 24;  // floor_scale is from 1 to this

inline bool is_attn_scale(double value) {
  return value > 0.0 && value <= kMaxAttnScale;
}

struct AttentionKindRow {
  std::string_view name;       // in configs and files: "ssmax_bias"
  std::string_view title;      // for people, in tables and legends
  std::string_view row_scale;  // c as a formula: "s log n + b"
  // L[n], n >= 1. Null: there is no row scale, c is 1, and the attention is a Llama's.
  double (*position)(double n, const PositionConstants& constants) = nullptr;
  bool learns_position = false;  // p_n, one for each n, stands in the place of L[n], where it starts
  bool has_scale = false;        // s is learned, one a head and layer; otherwise it is 1
  bool has_bias = false;         // b is learned, one a head and layer; otherwise it is 0
  bool has_floor = false;        // L[n] reads attn_scale and floor_scale
};

// All kinds, in the order in which people see them.
std::span<const AttentionKindRow> attention_kinds();
const AttentionKindRow& row_of(AttentionKind kind);
AttentionKind kind_of(const AttentionKindRow& row);  // of one that attention_kinds() or row_of() gave

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
std::string names_with_floor();  // of the kinds that read attn_scale and floor_scale, with commas

// Where a learned p_n starts: at log n, or for every n at the mean of log n, so that what it comes to is
// learnt from the data alone. The mean row scale is the same.
enum class PnInit { kLogN, kFlat };
inline constexpr std::array kPnInits = {PnInit::kLogN, PnInit::kFlat};
std::string_view to_string(PnInit init);  // "log_n", "flat"

struct AttentionConfig {
  AttentionKind kind = AttentionKind::kSoftmax;
  std::optional<double> scale_init;  // none: auto; see resolved_scale_init
  double bias_init = 0.0;
  std::optional<double> attn_scale = {};    // none: auto, that of PositionConstants
  std::optional<int64_t> floor_scale = {};  // likewise
  PnInit pn_init = PnInit::kLogN;
};

// Those of a model with this attention that was trained in windows of `trained_length` tokens.
PositionConstants position_constants(const AttentionConfig& attention, int64_t trained_length);

// L[n] of a kind that has a row scale, n >= 1; that of a learned p_n is its start.
double initial_position(AttentionKind kind, const PositionConstants& constants, int64_t n);

// The mean of L[n], n = 1..length, of windows of training of `length` tokens. The kind has a row scale.
double mean_position(const AttentionConfig& attention, int64_t length);

// The mean of L[n] of `from` over that of `to`: s times this keeps the mean row scale where s comes to
// multiply the other L[n]. Exactly 1 where both are the same. Both kinds have a row scale.
double position_ratio(const AttentionConfig& from, const AttentionConfig& to, int64_t length);

// Where s starts in a kind that has it. auto: 1 / mean(L[n]), n = 1..sequence_length, so that the mean row
// scale is 1 (for ssmax of 1,024 positions 0.168; arXiv 2501.19399, section 4). A number is ssmax's s; of a
// kind with another L[n] it is the number times mean(log n) / mean(L[n]), so that the mean row scale is that
// of ssmax.
double resolved_scale_init(const AttentionConfig& attention, int64_t sequence_length);

}  // namespace ssgpt::config
