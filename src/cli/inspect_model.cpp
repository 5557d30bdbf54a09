// Inspection of checkpoints and run directories.

#include "checkpoint/checkpoint.h"
#include "cli/inspection.h"
#include "cli/table.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "report/run_data.h"
#include "run/directory.h"
#include "start/describe.h"

#include <algorithm>
#include <span>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

namespace fs = std::filesystem;
using Align = Table::Align;
using Json = nlohmann::ordered_json;

struct Group {
  const char* name;
  std::string_view mark;  // occurs in the names of its parameters
  int64_t parameters = 0;
};

std::vector<Group> count_groups(const std::vector<model::Parameter>& layout) {
  // The first matching mark decides.
  std::vector<Group> groups = {{"embedding", "embed_tokens"},     {"attention scale", "ssmax_"},
                               {"query and key norms", "_norm."}, {"attention", "self_attn."},
                               {"feed-forward", "mlp."},          {"norms", "norm"},
                               {"output head", "lm_head"}};
  for (const model::Parameter& parameter : layout) {
    for (Group& group : groups) {
      if (parameter.spec.name.find(group.mark) != std::string::npos) {
        group.parameters += parameter.numel;
        break;
      }
    }
  }
  std::erase_if(groups, [](const Group& group) { return group.parameters == 0; });
  return groups;
}

// Minimum, mean and maximum over the heads of each parameter whose name ends in `suffix`.
std::string describe_heads(const checkpoint::FlatState& flat, std::string_view suffix, const char* symbol,
                           Json& json) {
  Table table({Align::kRight, Align::kRight, Align::kRight, Align::kRight});
  table.add(
      {"layer", std::string("min ") + symbol, std::string("mean ") + symbol, std::string("max ") + symbol});
  json = Json::array();
  for (const model::Parameter& parameter : flat.layout) {
    if (!parameter.spec.name.ends_with(suffix)) continue;
    const std::span<const float> values(flat.master.const_data_ptr<float>() + parameter.offset,
                                        static_cast<size_t>(parameter.numel));
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    double mean = 0.0;
    for (const float value : values) mean += static_cast<double>(value) / static_cast<double>(values.size());
    table.add({std::to_string(json.size()), fmt::format("{:.4f}", *low), fmt::format("{:.4f}", mean),
               fmt::format("{:.4f}", *high)});
    json.push_back({{"min", *low}, {"mean", mean}, {"max", *high}});
  }
  return json.empty() ? "" : fmt::format("\n{}", table.text(/*indent=*/2));
}

uint64_t bytes_of_tree(const fs::path& path) {
  uint64_t bytes = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

Json model_json(const model::GPTSpec& spec) {
  const config::ModelConfig& config = spec.config;
  return {{"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"intermediate_size", config.intermediate_size},
          {"sequence_length", spec.sequence_length},
          {"rope_theta", config.rope_theta},
          {"rope_fraction", config.rope_fraction},
          {"nope_layers", config.nope_layers.layers},
          {"qk_norm", config::to_string(config.qk_norm)},
          {"rms_norm_eps", config.rms_norm_eps}};
}

void add_swaps(const config::Config& config, Table& table, Json& json) {
  json["swaps"] = Json::array();
  for (const config::SwapAttention& swap : config.train.swap_attention) {
    const auto kind = config::to_string(swap.kind);
    table.add({"attention swap", fmt::format("to {} after step {}", kind, swap.at_step)});
    json["swaps"].push_back({{"at_step", swap.at_step}, {"kind", kind}});
  }
}

void add_trainer(const fs::path& path, const checkpoint::TrainerState& state, Table& table, Json& json) {
  table.add({"step", std::to_string(state.step)});
  table.add(
      {"tokens", fmt::format("{} ({})", state.tokens, core::human_count(static_cast<double>(state.tokens)))});
  table.add({"run", state.run_id});
  table.add({"computed in", state.dtype});
  json["step"] = state.step;
  json["tokens"] = state.tokens;
  json["run_id"] = state.run_id;
  json["dtype"] = state.dtype;
  try {
    add_swaps(config::parse(state.config, (path / "trainer/state.json").string()), table, json);
  } catch (const core::Error& error) {     // intact, but this program would not accept the config
    std::string_view rest = error.what();  // several faults, one per line
    for (const char* name = "config"; !rest.empty(); name = "") {
      const size_t end = std::min(rest.find('\n'), rest.size());
      table.add({name, std::string(rest.substr(0, end))});
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    json["config_fault"] = error.what();
  }
}

// "intact", "not checked" or "damaged", or that there is no manifest to check, as in other programs'
// directories.
std::string check(const fs::path& path, bool verify, std::vector<std::string>& faults) {
  if (!core::exists(path / run::kManifestName)) return "no manifest: not written by this program";
  if (!verify) return "not checked";
  faults = checkpoint::verify(path);
  return faults.empty() ? "intact" : "damaged";
}

std::string describe_groups(const checkpoint::FlatState& flat, Json& json) {
  Table table({Align::kLeft, Align::kRight, Align::kRight});
  int64_t total = 0;
  for (const model::Parameter& parameter : flat.layout) total += parameter.numel;
  json = {{"total", total}};
  for (const Group& group : count_groups(flat.layout)) {
    table.add({group.name, std::to_string(group.parameters),
               fmt::format("{:.1f} %",
                           100.0 * static_cast<double>(group.parameters) / static_cast<double>(total))});
    json[group.name] = group.parameters;
  }
  table.add({"all parameters", std::to_string(total), core::human_count(static_cast<double>(total))});
  return fmt::format("\n{}", table.text(/*indent=*/2));
}

}  // namespace

Inspection inspect_checkpoint(const fs::path& path, bool verify) {
  Inspection result;
  const std::string state = check(path, verify, result.faults);
  result.json = {{"type", "checkpoint"}, {"path", path.string()}, {"state", state}};
  Table head({Align::kLeft, Align::kLeft});
  head.add({"checkpoint", path.string()});
  head.add({"state", state});
  if (!result.faults.empty()) {
    result.json["faults"] = result.faults;
    result.text = head.text();
    return result;
  }
  const checkpoint::Snapshot snapshot = checkpoint::read(path, /*with_optimizer=*/verify, /*verify=*/false);
  const config::ModelConfig& config = snapshot.spec.config;
  const uint64_t bytes = bytes_of_tree(path);
  head.add({"size", core::human_bytes(bytes)});
  result.json["bytes"] = bytes;
  result.json["attention"] = config::to_string(config.attention.kind);
  head.add({"attention", std::string(config::to_string(config.attention.kind))});
  head.add({"row scale", std::string(config::row_of(config.attention.kind).row_scale)});
  if (config::has_floor(config.attention.kind)) {
    const config::PositionConstants constants = model::position_constants(snapshot.spec);
    head.add({"", fmt::format("with a = {}, f = {}", constants.attn_scale, constants.floor_scale)});
    result.json["attn_scale"] = constants.attn_scale;
    result.json["floor_scale"] = constants.floor_scale;
  }
  result.json["model"] = model_json(snapshot.spec);
  head.add({"model", fmt::format("{}, {}, hidden {}, feed-forward {}",
                                 core::counted(config.num_hidden_layers, "layer"),
                                 core::counted(config.num_attention_heads, "head"), config.hidden_size,
                                 config.intermediate_size)});
  head.add({"vocabulary", std::to_string(config.vocab_size)});
  head.add({"sequence length", std::to_string(snapshot.spec.sequence_length)});
  head.add({"RoPE theta", fmt::format("{}", config.rope_theta)});
  if (config.rope_fraction != 1.0 || !config.nope_layers.layers.empty())
    head.add({"positions", start::positions_text(config)});
  if (config.qk_norm == config::QkNorm::kRms) head.add({"q and k", "RMSNorm with learned gains"});
  if (snapshot.spec.document_token_id) {
    head.add(
        {"document token", fmt::format("{}: attention does not cross it", *snapshot.spec.document_token_id)});
    result.json["document_token_id"] = *snapshot.spec.document_token_id;
  }
  head.add({"tokenizer", snapshot.tokenizer ? "included" : "none"});
  result.json["has_tokenizer"] = snapshot.tokenizer.has_value();
  if (snapshot.trainer) {
    add_trainer(path, *snapshot.trainer, head, result.json);
    const int64_t files = checkpoint::read_summary(path).num_optimizer_files;
    if (files > 1) {
      head.add({"optimizer files", fmt::format("{}: one for each rank that wrote it", files)});
      result.json["optimizer_files"] = files;
    }
  } else {
    head.add({"trainer", "none: weights only"});
  }
  result.text = head.text() + describe_groups(snapshot.flat, result.json["parameters"]);
  result.text += describe_heads(snapshot.flat, "ssmax_scale", "s", result.json["attention_scale"]);
  result.text += describe_heads(snapshot.flat, "ssmax_bias", "b", result.json["attention_bias"]);
  return result;
}

Inspection inspect_run(const fs::path& path, bool verify) {
  Inspection result;
  const report::RunData run = report::read_run(path);
  Table head({Align::kLeft, Align::kLeft});
  head.add({"run", path.string()});
  head.add({"name", run.config.run.name});
  const int64_t step = run.train.empty() ? 0 : run.train.back().last_step;
  head.add({"steps", fmt::format("{} of {}", step, run.config.train.max_steps)});
  result.json = {{"type", "run"},
                 {"path", path.string()},
                 {"name", run.config.run.name},
                 {"attention", config::to_string(run.config.model.attention.kind)},
                 {"step", step},
                 {"max_steps", run.config.train.max_steps}};
  head.add({"attention", std::string(config::to_string(run.config.model.attention.kind))});
  add_swaps(run.config, head, result.json);
  if (!run.train.empty()) {
    head.add({"tokens", core::human_count(static_cast<double>(run.train.back().tokens))});
    head.add({"last train loss", fmt::format("{:.4f} at step {}", run.train.back().loss, step)});
    result.json["tokens"] = run.train.back().tokens;
    result.json["train_loss"] = run.train.back().loss;
  }
  if (!run.validation.empty()) {
    const report::ValidationPoint& last = run.validation.back();
    head.add({"last validation loss", fmt::format("{:.4f} at step {}", last.loss, last.step)});
    result.json["validation_loss"] = last.loss;
  }
  Table table({Align::kLeft, Align::kRight, Align::kLeft});
  result.json["checkpoints"] = Json::array();
  for (const run::Checkpoint& entry : run::RunDirectory(path).complete_checkpoints()) {
    std::vector<std::string> faults;
    const std::string state = check(entry.directory, verify, faults);
    const uint64_t bytes = bytes_of_tree(entry.directory);
    table.add({entry.directory.filename().string(), core::human_bytes(bytes), state});
    result.json["checkpoints"].push_back({{"step", entry.step}, {"bytes", bytes}, {"state", state}});
    result.faults.insert(result.faults.end(), faults.begin(), faults.end());
  }
  result.text = head.text();
  result.text += result.json["checkpoints"].empty() ? "\nno checkpoints\n"
                                                    : fmt::format("\n{}", table.text(/*indent=*/2));
  return result;
}

}  // namespace ssgpt::cli
