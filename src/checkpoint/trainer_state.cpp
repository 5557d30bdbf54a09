#include "checkpoint/trainer_state.h"

#include "core/json.h"
#include "core/json_fields.h"
#include "run/record.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {
namespace {

// Far beyond any training, and so small that sums of such counts fit.
constexpr int64_t kLargestCount = int64_t{1} << 60;
constexpr int64_t kMostStepsPerEpoch = int64_t{1} << 40;  // times the epochs of a config this fits as well

int64_t read_count(const core::JsonFields& fields, const std::string& key, int64_t most = kLargestCount) {
  const int64_t count = fields.count(key);
  if (count > most) fields.fail(key, fmt::format("a count of at most {}", most));
  return count;
}

}  // namespace

std::string trainer_state_text(const TrainerState& state) {
  nlohmann::ordered_json json;
  json["step"] = state.step;
  json["tokens"] = state.tokens;
  json["run_id"] = state.run_id;
  json["dtype"] = state.dtype;
  json["data_fingerprint"] = state.data_fingerprint;
  json["steps_per_epoch"] = state.steps_per_epoch;
  json["tokenizer_fingerprint"] = state.tokenizer_fingerprint;
  json["last_line_step"] = nullptr;
  if (state.last_line_step) json["last_line_step"] = *state.last_line_step;
  json["loss_sums"] = nlohmann::ordered_json::array();
  for (const double sum : state.loss_sums) json["loss_sums"].emplace_back(core::exact_number(sum));
  json["loss_steps"] = state.loss_steps;
  json["smoothed_loss"] = core::exact_number(state.smoothed_loss);
  json["smoothed_weight"] = core::exact_number(state.smoothed_weight);
  if (state.products) json["products"] = to_json(*state.products);
  json["config"] = state.config;
  json["directory"] = state.directory;
  if (state.beginning) {
    json["beginning"] = nlohmann::ordered_json::object();
    run::add_beginning(*state.beginning, json["beginning"]);
  }
  return core::json_text(json, 2) + "\n";
}

TrainerState read_trainer_state(const std::filesystem::path& path) {
  const core::JsonFields fields(path);
  TrainerState state;
  state.step = read_count(fields, "step");
  state.tokens = read_count(fields, "tokens");
  state.run_id = fields.text("run_id");
  state.dtype = fields.text("dtype");
  state.data_fingerprint = fields.text("data_fingerprint");
  if (fields.has("steps_per_epoch"))  // earlier versions did not say
    state.steps_per_epoch = read_count(fields, "steps_per_epoch", kMostStepsPerEpoch);
  state.tokenizer_fingerprint = fields.optional_text("tokenizer_fingerprint").value_or("");
  state.loss_sums =
      fields.has("loss_sums") ? fields.numbers("loss_sums") : std::vector<double>{fields.number("loss_sum")};
  state.loss_steps = read_count(fields, "loss_steps");
  state.smoothed_loss = fields.number("smoothed_loss");
  state.smoothed_weight = fields.number("smoothed_weight");
  state.config = fields.text("config");
  state.directory = fields.optional_text("directory").value_or("");
  state.last_line_step = fields.optional_count("last_line_step");
  if (fields.has("beginning")) state.beginning = run::read_beginning(fields.object("beginning"));
  if (fields.has("products")) state.products = kernels::read_product_choices(fields.object("products"));
  if (const auto swap = run::earlier_swap(fields)) {
    config::Config config = config::parse(state.config, path.string());
    config::add_swap(config, *swap);
    state.config = config::dump(config);
  }
  return state;
}

}  // namespace ssgpt::checkpoint
