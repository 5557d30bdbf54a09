#include "checkpoint/state.h"
#include "core/check.h"
#include "core/log.h"

#include <algorithm>

namespace ssgpt::checkpoint {

Snapshot with_attention(const Snapshot& from, const config::AttentionConfig& attention) {
  using config::AttentionKind;
  const AttentionKind before = from.spec.config.attention.kind;
  if (attention.kind == AttentionKind::kSsmaxFixed && before != AttentionKind::kSsmaxFixed) {
    const double mean_log = 1.0 / config::resolved_scale_init({}, from.spec.sequence_length);
    core::log::warning(
        "swapping {} to ssmax_fixed, which multiplies scores by log n, {:.1f} on average over {} positions: "
        "expect the loss to jump and to need steps to recover",
        config::to_string(before), mean_log, from.spec.sequence_length);
  }
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
    }
  }
  return to;
}

}  // namespace ssgpt::checkpoint
