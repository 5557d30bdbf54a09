#include "checkpoint/trainer_state.h"

#include "checkpoint/json_fields.h"
#include "core/error.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {

std::string trainer_state_text(const TrainerState& state) {
  nlohmann::ordered_json json;
  json["step"] = state.step;
  json["tokens"] = state.tokens;
  json["run_id"] = state.run_id;
  json["dtype"] = state.dtype;
  json["data_fingerprint"] = state.data_fingerprint;
  json["loss_sums"] = nlohmann::ordered_json::array();
  for (const double sum : state.loss_sums) json["loss_sums"].emplace_back(exact_number(sum));
  json["loss_steps"] = state.loss_steps;
  json["smoothed_loss"] = exact_number(state.smoothed_loss);
  json["smoothed_weight"] = exact_number(state.smoothed_weight);
  json["manual_swap"] = nullptr;
  if (state.manual_swap) {
    json["manual_swap"] = {{"at_step", state.manual_swap->at_step},
                           {"kind", config::to_string(state.manual_swap->kind)}};
  }
  json["config"] = state.config;
  return json.dump(2) + "\n";
}

TrainerState read_trainer_state(const std::filesystem::path& path) {
  const JsonFields fields(path);
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
  if (fields.has("manual_swap")) {
    const JsonFields swap = fields.object("manual_swap");
    const std::string name = swap.text("kind");
    const auto kind = config::parse_attention_kind(name);
    if (!kind) {
      throw core::InputError("{}: manual_swap.kind '{}' is not one of {}", path.string(), name,
                             fmt::join(config::attention_kind_names(), ", "));
    }
    state.manual_swap = config::SwapAttention{.at_step = swap.integer("at_step"), .kind = *kind};
  }
  return state;
}

}  // namespace ssgpt::checkpoint
