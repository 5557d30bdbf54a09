#include "checkpoint/state.h"
#include "core/check.h"
#include "core/log.h"

#include <algorithm>

namespace ssgpt::checkpoint {
namespace {

using config::AttentionKind;

// The mean row scale of a kind that learns nothing; of the others it is about 1, or what their s makes it.
double fixed_mean(const config::AttentionConfig& attention, int64_t length) {
  const AttentionKind kind = attention.kind;
  const bool fixed = config::has_row_scale(kind) && !config::has_scale(kind) && !config::has_bias(kind) &&
                     !config::has_learned_position(kind);
  return fixed ? config::mean_position(attention, length) : 1.0;
}

void warn_of_larger_scores(const model::GPTSpec& from, const config::AttentionConfig& to) {
  constexpr double kNotable = 1.25;
  const double mean = fixed_mean(to, from.sequence_length);
  if (mean < kNotable * fixed_mean(from.config.attention, from.sequence_length)) return;
  core::log::warning(
      "swapping {} to {}, which multiplies scores by {}, {:.1f} on average over {} positions: "
      "expect the loss to jump and to need steps to recover",
      config::to_string(from.config.attention.kind), config::to_string(to.kind),
      config::row_of(to.kind).row_scale, mean, from.sequence_length);
}

// s becomes s times `ratio`. The gradient with respect to the new s is that of the old one divided by
// `ratio`; the first moment goes with it, the second with its square.
void convert_scale(const FlatState& flat, const model::Parameter& scale, double ratio) {
  model::ParameterStore::view_of(flat.master, scale).mul_(ratio);
  if (!flat.exp_avg.defined()) return;
  model::ParameterStore::view_of(flat.exp_avg, scale).div_(ratio);
  model::ParameterStore::view_of(flat.exp_avg_sq, scale).div_(ratio * ratio);
}

}  // namespace

Snapshot with_attention(const Snapshot& from, const config::AttentionConfig& attention) {
  const AttentionKind before = from.spec.config.attention.kind;
  warn_of_larger_scores(from.spec, attention);
  const bool keeps_scale = config::has_scale(before) && config::has_scale(attention.kind);
  const double ratio =
      keeps_scale ? config::position_ratio(from.spec.config.attention, attention, from.spec.sequence_length)
                  : 1.0;
  Snapshot to{.spec = from.spec, .flat = {}, .trainer = from.trainer, .tokenizer = from.tokenizer};
  to.spec.config.attention = attention;
  to.flat = make_flat_state(model::parameter_specs(to.spec.config, to.spec.sequence_length),
                            /*with_moments=*/from.flat.exp_avg.defined());
  const std::vector<std::string> added = copy_by_name(from.flat, to.flat);
  for (const model::Parameter& parameter : to.flat.layout) {
    if (std::find(added.begin(), added.end(), parameter.spec.name) != added.end()) {
      // Only s, b and p_n can be new, and none of these starts random: the seed does not matter.
      SSGPT_CHECK(parameter.spec.initializer.kind != model::Initializer::Kind::kNormal,
                  "a swap of the attention adds {}, which starts random", parameter.spec.name);
      model::fill_initial(to.flat.master.mutable_data_ptr<float>() + parameter.offset, parameter,
                          /*seed=*/0);
    } else if (ratio != 1.0 && parameter.spec.name.ends_with("ssmax_scale")) {
      convert_scale(to.flat, parameter, ratio);
    }
  }
  return to;
}

}  // namespace ssgpt::checkpoint
