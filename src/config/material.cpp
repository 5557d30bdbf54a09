#include "config/material.h"

#include "config/schema.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace ssgpt::config {
namespace {

bool is_material_key(std::string_view key, ResumeRule rule) {
  return rule == ResumeRule::kFixed || key == "train.swap_attention" ||
         key == "optimizer.schedule.total_steps" || key == "optimizer.schedule.earlier_total_steps";
}

// Resets settings that none of the config's attention kinds use to their defaults, and resolves auto in those
// they do.
Config without_idle_settings(Config config) {
  const Config defaults;
  const bool scale = any_kind(config, has_scale);
  const bool bias = any_kind(config, has_bias);
  if (!scale) config.model.attention.scale_init = defaults.model.attention.scale_init;
  if (!bias) config.model.attention.bias_init = defaults.model.attention.bias_init;
  const bool position = any_kind(config, has_learned_position);
  if (!position) config.model.attention.pn_init = defaults.model.attention.pn_init;
  if (!scale && !bias && !position) {
    config.optimizer.scale_lr_multiplier = defaults.optimizer.scale_lr_multiplier;
  }
  if (any_kind(config, has_floor)) {
    AttentionConfig& attention = config.model.attention;
    const PositionConstants constants = position_constants(attention, config.data.sequence_length);
    attention.attn_scale = constants.attn_scale;
    attention.floor_scale = constants.floor_scale;
  }
  return config;
}

}  // namespace

bool is_material(const Difference& difference) {
  return is_material_key(difference.key, difference.rule);
}

std::string material_settings(const Config& config) {
  Config used = without_idle_settings(config);
  resolve_total_steps(used);
  std::string text;
  for (const Key& key : schema()) {
    if (!is_material_key(key.name, key.resume)) continue;
    fmt::format_to(std::back_inserter(text), "{}: {}\n", key.name, key.write(used));
  }
  return text;
}

}  // namespace ssgpt::config
