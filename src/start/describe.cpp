#include "start/describe.h"

#include "core/memory.h"
#include "core/text.h"
#include "core/version.h"
#include "model/accounting.h"
#include "model/gpt.h"
#include "start/choose_device.h"
#include "start/examples.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::start {
namespace {

config::Config with_kind(config::Config config, config::AttentionKind kind) {
  config.model.attention.kind = kind;
  return config;
}

struct SmallStep {
  uint64_t resident = 0;   // bytes of the process during the step
  uint64_t allocated = 0;  // of these, by the step's own tensors
};

// Runs one step of a model with two small layers, after which the process has what any step adds to it
// besides its own tensors: code pages touched for the first time, threads, GEMM buffers.
SmallStep take_small_step(const config::Config& config) {
  config::Config small = config;
  constexpr int64_t kHidden = 128;
  constexpr int64_t kTime = 64;
  small.model.hidden_size = kHidden;
  small.model.num_attention_heads = 2;
  small.model.intermediate_size = 2 * kHidden;
  small.model.num_hidden_layers = 2;
  small.model.rope_fraction = 1.0;  // the run's may leave no even number of this head's dimensions
  small.model.vocab_size = 512;
  small.data.sequence_length = kTime;
  small.train.micro_batch_size = 1;
  small.train.global_batch_size = 1;
  const model::GPTSpec spec{
      .config = small.model, .sequence_length = kTime, .document_token_id = std::nullopt};
  model::GPT model(spec, execution_of(config.train));
  model.parameters().flat_master().fill_(0.01);  // any values will do, and random ones take longer
  model.parameters().refresh_compute();
  const at::Tensor tokens = at::zeros({1, kTime}, at::TensorOptions().dtype(at::kLong));
  model.forward_backward(tokens, tokens, at::zeros({1}, at::TensorOptions().dtype(at::kDouble)));
  const model::MemoryEstimate estimate =
      model::estimate_memory(small, config.train.dtype == config::Dtype::kBfloat16, /*num_ranks=*/1);
  return {
      .resident = core::resident_bytes(),
      .allocated = static_cast<uint64_t>(estimate.parameters / 2 + estimate.activations)};  // no moments here
}

// Bytes of the process besides what training fills. The small step is part of the peak: a model that needs
// less than it did gives nothing of it back.
uint64_t program_bytes(const config::Config& config, uint64_t held_bytes,
                       const model::MemoryEstimate& training) {
  const SmallStep small = take_small_step(config);
  const auto needed = static_cast<uint64_t>(training.parameters + training.activations);
  const uint64_t used_again = held_bytes + std::min(small.allocated, needed);
  return small.resident - std::min(small.resident, used_again);
}

std::string start_line(const Start& start) {
  const std::string checkpoint = start.checkpoint ? start.checkpoint->string() : "";
  switch (start.mode) {
    case Mode::kFresh:
      return "a new run";
    case Mode::kInitFrom:
      return fmt::format("a new run with the weights of {}", checkpoint);
    case Mode::kContinue:
      return fmt::format("resumes from step {}, checkpoint {}", start.state.step, checkpoint);
    case Mode::kFork:
      return fmt::format("forks from step {}, checkpoint {}", start.state.step, checkpoint);
  }
  return {};
}

// The config of what is still to come: the kind of the first update, and the swaps after it.
config::Config ahead_of(const Start& start) {
  config::Config ahead = with_kind(start.config, start.attention_kind());
  std::erase_if(ahead.train.swap_attention,
                [&start](const config::SwapAttention& swap) { return swap.at_step <= start.state.step; });
  return ahead;
}

std::string attention_line(const config::Config& ahead) {
  std::string line(to_string(ahead.model.attention.kind));
  for (const config::SwapAttention& swap : ahead.train.swap_attention) {
    line += fmt::format(", {} after step {}", to_string(swap.kind), swap.at_step);
  }
  if (ahead.model.qk_norm == config::QkNorm::kRms) line += "; RMSNorm of q and k";
  return line;
}

std::string schedule_line(const config::OptimizerConfig& optimizer) {
  const config::ScheduleConfig& schedule = optimizer.schedule;
  std::string kind = schedule.kind == config::ScheduleKind::kCosine ? "cosine"
                     : schedule.kind == config::ScheduleKind::kWsd  ? "warm-up, stable, decay"
                                                                    : "constant";
  if (schedule.kind != config::ScheduleKind::kConstant) {
    kind += fmt::format(" to {:g} at step {}", schedule.min_lr,
                        schedule.total_steps.value_or(schedule.decay_steps));
  }
  const std::string of_row_scale =
      optimizer.scale_lr_multiplier == 1.0
          ? ""
          : fmt::format(" (that of s, b and p_n times {:g})", optimizer.scale_lr_multiplier);
  return fmt::format("AdamW, lr {:g}{}, {}, {} warm-up steps, betas ({:g}, {:g}), weight decay {:g}",
                     optimizer.lr, of_row_scale, kind, schedule.warmup_steps, optimizer.betas[0],
                     optimizer.betas[1], optimizer.weight_decay);
}

std::string data_line(const Start& start) {
  const DataSources& data = start.data;
  if (data.examples) return examples_text(*data.examples);
  return fmt::format("{} tokens, {} windows of {}{}",
                     core::human_count(static_cast<double>(data.training.num_tokens())), data.num_windows,
                     start.config.data.sequence_length,
                     data.document_token_id ? ", attention within documents" : "");
}

// How many times the run reads its data. Each epoch of examples begins with a step, so its last step may be
// short.
double num_epochs(const Start& start) {
  const auto steps = static_cast<double>(start.config.train.max_steps);
  const DataSources& data = start.data;
  if (data.examples) return steps / static_cast<double>(steps_per_epoch(start.config, *data.examples));
  return steps * static_cast<double>(start.config.train.global_batch_size) /
         static_cast<double>(data.num_windows);
}

// With examples only some of the positions predict a token.
std::string batch_line(const Start& start, int64_t num_ranks) {
  const config::TrainConfig& train = start.config.train;
  const int64_t positions = train.global_batch_size * start.config.data.sequence_length;
  return fmt::format("{} {} = {} {} per step, in micro-batches of {}{}", train.global_batch_size,
                     start.data.examples ? "windows" : "sequences", positions,
                     start.data.examples ? "positions" : "tokens", train.micro_batch_size,
                     num_ranks > 1 ? fmt::format(" on {} ranks", num_ranks) : "");
}

// In predicted tokens, as counted in metrics.jsonl.
std::string budget_line(const Start& start) {
  const config::TrainConfig& train = start.config.train;
  const auto& examples = start.data.examples;
  const double tokens =
      examples ? predicted_tokens(start.config, *examples)
               : static_cast<double>(train.global_batch_size * start.config.data.sequence_length) *
                     static_cast<double>(train.max_steps);
  return fmt::format("{} steps, {} tokens{}, {:.2f} epochs", train.max_steps, core::human_count(tokens),
                     examples ? " of answers" : "", num_epochs(start));
}

double mib(uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}
double mib(int64_t bytes) {
  return mib(static_cast<uint64_t>(bytes));
}

}  // namespace

MemoryPlan plan_memory(const config::Config& config, int64_t num_ranks, std::optional<int64_t> spans,
                       uint64_t held_bytes) {
  const bool on_gpu = config.train.device == config::Device::kCuda;
  const bool bf16 = config.train.dtype == config::Dtype::kBfloat16;
  const model::MemoryEstimate training = model::estimate_memory(config, bf16, num_ranks, spans);
  return {.on_gpu = on_gpu,
          .program = on_gpu ? 0 : program_bytes(config, held_bytes, training),
          .training = training};
}

MemoryPlan plan_memory(const Start& start, int64_t num_ranks) {
  std::optional<int64_t> spans;
  if (const auto& examples = start.data.examples) {
    spans = examples->most_spans(start.config.train.micro_batch_size);
  }
  uint64_t held_bytes = 0;
  if (start.weights) {
    const checkpoint::FlatState& held = *start.weights;
    for (const at::Tensor& tensor : {held.master, held.exp_avg, held.exp_avg_sq}) {
      if (tensor.defined()) held_bytes += tensor.nbytes();
    }
  }
  return plan_memory(ahead_of(start), num_ranks, spans, held_bytes);
}

std::string positions_text(const config::ModelConfig& model) {
  if (!config::has_rope(model)) return "no RoPE in any layer";
  std::string text = fmt::format("RoPE, theta {}", model.rope_theta);
  if (model.rope_fraction != 1.0)
    text += fmt::format(", on {} of the {} dimensions of a head", config::rotated_dims(model),
                        config::head_dim(model));
  const std::vector<int64_t>& nope = model.nope_layers.layers;
  if (!nope.empty())
    text += fmt::format(", not in layer{} {} (from 0)", nope.size() > 1 ? "s" : "", fmt::join(nope, ", "));
  return text;
}

// In MiB throughout: rounding to "1.4 GiB" would exceed the error of the estimate.
std::string memory_text(const MemoryPlan& memory) {
  const model::MemoryEstimate& training = memory.training;
  const std::string steps = fmt::format("parameters and optimizer {:.0f}, activations {:.0f}",
                                        mib(training.parameters), mib(training.activations));
  std::string copies = fmt::format("checkpoint snapshot {:.0f}", mib(training.snapshot));
  if (training.swap > 0) copies += fmt::format(", swap of the attention {:.0f}", mib(training.swap));
  if (memory.on_gpu) {
    return fmt::format("about {:.0f} MiB of the GPU: {}; of the host, {}", mib(memory.total()), steps,
                       copies);
  }
  return fmt::format("about {:.0f} MiB: program {:.0f}, {}, {}", mib(memory.total()), mib(memory.program),
                     steps, copies);
}

std::optional<std::string> memory_warning(const MemoryPlan& memory, uint64_t free_bytes) {
  if (!memory.on_gpu || free_bytes >= memory.total()) return std::nullopt;
  return fmt::format(
      "The GPU has {:.0f} MiB left, and training is estimated to need {:.0f}: it may run out of memory. A "
      "smaller train.micro_batch_size needs less; another program on this GPU may hold some.",
      mib(free_bytes), mib(memory.total()));
}

std::string compute_text(const config::Config& config, int64_t num_ranks,
                         const std::optional<device::GpuDescription>& gpu) {
  std::string text = num_ranks > 1 ? fmt::format("{} ranks, each ", num_ranks) : "";
  text += gpu ? to_string(*gpu) : fmt::format("cpu, {}", core::counted(at::get_num_threads(), "thread"));
  text += fmt::format(", {}", to_string(config.train.dtype));
  if (gpu) text += fmt::format(", {} attention", to_string(config.train.attention_backend));
  if (gpu && config.train.deterministic) text += ", deterministic";
  if (num_ranks > 1 && config.parallel.zero_stage == 1) text += ", optimizer state sharded (ZeRO-1)";
  return text;
}

std::string start_text(const Start& start, int64_t num_ranks) {
  const config::Config ahead = ahead_of(start);
  const config::Config& config = start.config;
  const config::ModelConfig& model = ahead.model;
  const int64_t num_parameters = model::count_parameters(model, config.data.sequence_length);
  std::vector<std::pair<const char*, std::string>> rows = {
      {"run",
       fmt::format("{} ({}), seed {}", start.directory.path().string(), start_line(start), config.run.seed)},
      {"model", fmt::format("{} parameters: {}, {}, hidden {}, feed-forward {}, vocabulary {}",
                            core::human_count(static_cast<double>(num_parameters)),
                            core::counted(model.num_hidden_layers, "layer"),
                            core::counted(model.num_attention_heads, "head"), model.hidden_size,
                            model.intermediate_size, model.vocab_size)},
      {"attention", attention_line(ahead)},
      {"positions", positions_text(model)},
      {"data", data_line(start)},
      {"batch", batch_line(start, num_ranks)},
      {"budget", budget_line(start)},
      {"optimizer", schedule_line(config.optimizer)},
      {"compute", compute_text(config, num_ranks, gpu_of(config.train))},
      {"memory", memory_text(plan_memory(start, num_ranks))}};
  if (const auto& examples = start.data.validation_examples) {
    rows.insert(rows.begin() + 5, {"validation", examples_text(*examples)});
  }
  std::string text = fmt::format("ssgpt {} ({})", core::version(), core::git_revision());
  for (const auto& [name, value] : rows) text += fmt::format("\n  {:<10} {}", name, value);
  return text;
}

std::string describe(const Start& start, int64_t num_ranks) {
  config::accumulation_steps(start.config.train, num_ranks);
  return config::dump(start.config) + "\n" + start_text(start, num_ranks);
}

}  // namespace ssgpt::start
