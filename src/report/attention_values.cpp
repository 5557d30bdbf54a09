#include "report/attention_values.h"

namespace ssgpt::report {

std::string_view key(AttentionFigure figure) {
  constexpr PerAttentionFigure<std::string_view> kKeys = {"entropy", "largest_weight", "first_token_weight",
                                                          "effective_row_scale"};
  return kKeys[static_cast<size_t>(figure)];
}

std::string_view title(AttentionFigure figure) {
  constexpr PerAttentionFigure<std::string_view> kTitles = {
      "entropy of attention, nats", "largest attention weight", "attention to the first token",
      "effective row scale"};
  return kTitles[static_cast<size_t>(figure)];
}

}  // namespace ssgpt::report
