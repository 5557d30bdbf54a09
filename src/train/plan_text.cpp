#include "train/plan_text.h"

#include "core/log.h"
#include "core/text.h"
#include "core/version.h"
#include "model/accounting.h"

#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::train {
namespace {

int64_t num_parameters_of(const RunPlan& plan) {
  config::ModelConfig model = plan.config.model;
  model.attention.kind = plan.kind;
  return model::count_parameters(model, plan.config.data.sequence_length);
}

std::string start_line(const RunPlan& plan) {
  switch (plan.mode) {
    case StartMode::kFresh:
      return "a new run";
    case StartMode::kInitFrom:
      return fmt::format("a new run with the weights of {}", plan.checkpoint->string());
    case StartMode::kContinue:
      return fmt::format("goes on after step {} from {}", plan.first_step, plan.checkpoint->string());
    case StartMode::kFork:
      return fmt::format("forks after step {} from {}", plan.first_step, plan.checkpoint->string());
  }
  return {};
}

std::string attention_line(const RunPlan& plan) {
  std::string line(to_string(plan.kind));
  const auto& swap = plan.config.train.swap_attention;
  if (swap && swap->at_step >= plan.first_step && swap->kind != plan.kind) {
    line += fmt::format(", {} after step {}", to_string(swap->kind), swap->at_step);
  }
  return line;
}

std::string schedule_line(const config::OptimizerConfig& optimizer) {
  const config::ScheduleConfig& schedule = optimizer.schedule;
  const char* kind = schedule.kind == config::ScheduleKind::kCosine ? "cosine"
                     : schedule.kind == config::ScheduleKind::kWsd  ? "warm-up, stable, decay"
                                                                    : "constant";
  return fmt::format("AdamW, lr {:g}, {}, {} warm-up steps, betas ({:g}, {:g}), weight decay {:g}",
                     optimizer.lr, kind, schedule.warmup_steps, optimizer.betas[0], optimizer.betas[1],
                     optimizer.weight_decay);
}

}  // namespace

std::string start_text(const RunPlan& plan, const DataSources& sources) {
  const config::Config& config = plan.config;
  const config::ModelConfig& model = config.model;
  const bool bfloat16 = config.train.dtype == config::Dtype::kBfloat16;
  const model::MemoryEstimate memory = model::estimate_memory(config, bfloat16);
  const int64_t batch_tokens = config.train.global_batch_size * config.data.sequence_length;
  const double budget = static_cast<double>(batch_tokens) * static_cast<double>(config.train.max_steps);
  const double epoch = static_cast<double>(sources.num_windows * config.data.sequence_length);
  std::vector<std::pair<const char*, std::string>> rows = {
      {"run",
       fmt::format("{} ({}), seed {}", plan.run_directory.string(), start_line(plan), config.run.seed)},
      {"model",
       fmt::format("{} parameters: {} layers, {} heads, hidden {}, feed-forward {}, vocabulary {}",
                   core::human_count(static_cast<double>(num_parameters_of(plan))), model.num_hidden_layers,
                   model.num_attention_heads, model.hidden_size, model.intermediate_size, model.vocab_size)},
      {"attention", attention_line(plan)},
      {"data", fmt::format("{} tokens, {} windows of {}{}",
                           core::human_count(static_cast<double>(sources.training.num_tokens())),
                           sources.num_windows, config.data.sequence_length,
                           sources.document_token_id ? ", attention within documents" : "")},
      {"batch", fmt::format("{} sequences = {} tokens a step, in micro-batches of {}",
                            config.train.global_batch_size, batch_tokens, config.train.micro_batch_size)},
      {"budget", fmt::format("{} steps, {} tokens, {:.2f} epochs", config.train.max_steps,
                             core::human_count(budget), budget / epoch)},
      {"optimizer", schedule_line(config.optimizer)},
      {"compute",
       fmt::format("cpu, {} threads, {}", at::get_num_threads(), bfloat16 ? "bfloat16" : "float32")},
      {"memory", fmt::format("about {}: parameters and optimizer {}, activations {}, checkpoint snapshot {}",
                             core::human_bytes(static_cast<uint64_t>(memory.total())),
                             core::human_bytes(static_cast<uint64_t>(memory.parameters)),
                             core::human_bytes(static_cast<uint64_t>(memory.activations)),
                             core::human_bytes(static_cast<uint64_t>(memory.snapshot)))}};
  std::string text = fmt::format("ssgpt {} ({})", core::version(), core::git_revision());
  for (const auto& [name, value] : rows) text += fmt::format("\n  {:<10} {}", name, value);
  return text;
}

void log_phase_times(const metrics::PhaseTimers& timers) {
  double total = 0.0;
  for (size_t phase = 0; phase < timers.size(); ++phase) total += timers.seconds(phase);
  if (total == 0.0) return;
  std::vector<std::string> parts;
  for (size_t phase = 0; phase < timers.size(); ++phase) {
    parts.push_back(fmt::format("{} {:.1f} %", timers.name(phase), 100.0 * timers.seconds(phase) / total));
  }
  core::log::info("Time: {} in all; {}.", core::human_duration(total), fmt::join(parts, ", "));
}

}  // namespace ssgpt::train
