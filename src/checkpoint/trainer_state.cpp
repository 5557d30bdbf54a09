#include "checkpoint/trainer_state.h"

#include "core/json_fields.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

std::string with_swap(const std::string& config_text, const core::JsonFields& swap) {
  const auto kind = config::parse_attention_kind(swap.text("kind"));
  if (!kind) {
    swap.fail("kind", fmt::format("one of {}", fmt::join(config::attention_kind_names(), ", ")));
  }
  config::Config config = config::parse(config_text, swap.path().string());
  config::add_swap(config, {.at_step = swap.count("at_step"), .kind = *kind});
  return config::dump(config);
}

}  // namespace

std::string trainer_state_text(const TrainerState& state) {
  nlohmann::ordered_json json;
  json["step"] = state.step;
  json["tokens"] = state.tokens;
  json["run_id"] = state.run_id;
  json["dtype"] = state.dtype;
  json["data_fingerprint"] = state.data_fingerprint;
  json["last_line_step"] = state.last_line_step;
  json["loss_sums"] = nlohmann::ordered_json::array();
  for (const double sum : state.loss_sums) json["loss_sums"].emplace_back(core::exact_number(sum));
  json["loss_steps"] = state.loss_steps;
  json["smoothed_loss"] = core::exact_number(state.smoothed_loss);
  json["smoothed_weight"] = core::exact_number(state.smoothed_weight);
  json["config"] = state.config;
  return json.dump(2) + "\n";
}

TrainerState read_trainer_state(const std::filesystem::path& path) {
  const core::JsonFields fields(path);
  TrainerState state;
  state.step = fields.integer("step");
  state.tokens = fields.integer("tokens");
  state.run_id = fields.text("run_id");
  state.dtype = fields.text("dtype");
  state.data_fingerprint = fields.text("data_fingerprint");
  state.loss_sums =
      fields.has("loss_sums") ? fields.numbers("loss_sums") : std::vector<double>{fields.number("loss_sum")};
  state.loss_steps = fields.integer("loss_steps");
  state.smoothed_loss = fields.number("smoothed_loss");
  state.smoothed_weight = fields.number("smoothed_weight");
  state.config = fields.text("config");
  // Earlier versions cleared their meters at each line, and kept a swap by hand beside the config.
  state.last_line_step = fields.optional_count("last_line_step").value_or(state.step - state.loss_steps);
  if (fields.has("manual_swap")) state.config = with_swap(state.config, fields.object("manual_swap"));
  return state;
}

}  // namespace ssgpt::checkpoint
