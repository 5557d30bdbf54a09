#include "bench/step_text.h"

#include "core/json.h"
#include "core/text.h"
#include "metrics/meters.h"
#include "report/text_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

using Json = nlohmann::ordered_json;
using Align = report::TextTable::Align;
using Entry = core::ProfileEntry;

double median(const std::vector<double>& seconds) {
  return quantile(seconds, 0.5);
}

double gemm_share(const StepReport& report) {
  return tokens_per_second(report) * report.flops_per_token / report.ceilings.product_flops;
}

std::optional<double> mfu(const StepReport& report) {
  if (!report.spec_sheet_flops) return std::nullopt;
  return metrics::model_flops_utilization(tokens_per_second(report), report.flops_per_token,
                                          *report.spec_sheet_flops);
}

double total(const std::vector<double>& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

// Phases in the order of the step, each followed by its operations, longest first.
std::vector<size_t> reading_order(const std::vector<Entry>& profile) {
  std::vector<size_t> order;
  const auto add_inside = [&](const auto& self, int64_t parent) -> void {
    std::vector<size_t> inside;
    for (size_t i = 0; i < profile.size(); ++i) {
      if (profile[i].parent == parent) inside.push_back(i);
    }
    if (parent >= 0) {
      std::stable_sort(inside.begin(), inside.end(),
                       [&](size_t a, size_t b) { return profile[a].seconds > profile[b].seconds; });
    }
    for (const size_t i : inside) {
      order.push_back(i);
      self(self, static_cast<int64_t>(i));
    }
  };
  add_inside(add_inside, -1);
  return order;
}

size_t depth(const std::vector<Entry>& profile, size_t index) {
  size_t result = 0;
  for (int64_t parent = profile[index].parent; parent >= 0;
       parent = profile[static_cast<size_t>(parent)].parent) {
    ++result;
  }
  return result;
}

std::string rate(double work, double seconds, double unit) {
  return work > 0.0 && seconds > 0.0 ? fmt::format("{:.1f}", work / seconds / unit) : "";
}

// GFLOP/s on a CPU, TFLOP/s on a GPU.
struct FlopsUnit {
  double size;
  std::string_view name;
};
FlopsUnit flops_unit(const config::Config& config) {
  return on_gpu(config) ? FlopsUnit{.size = 1e12, .name = "TFLOP/s"}
                        : FlopsUnit{.size = 1e9, .name = "GFLOP/s"};
}

// A GPU's operations range from microseconds to many milliseconds; on a CPU all are of similar size.
std::string time_of(double seconds, bool gpu) {
  if (!gpu) return fmt::format("{:.2f}", 1e3 * seconds);
  return seconds < 1e-3 ? fmt::format("{:.0f} \u00b5s", 1e6 * seconds)
                        : fmt::format("{:.2f} ms", 1e3 * seconds);
}

std::string profile_table(const StepReport& report) {
  const auto steps = static_cast<double>(report.profiled_steps);
  const bool gpu = on_gpu(report.config);
  const FlopsUnit unit = flops_unit(report.config);
  report::TextTable table({Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight,
                           Align::kRight, Align::kRight});
  table.add({"phase and operation", "calls", gpu ? "time" : "ms", "of step", std::string(unit.name), "GB/s",
             "of ceiling"});
  table.add_rule();
  for (const size_t i : reading_order(report.profile)) {
    const Entry& entry = report.profile[i];
    table.add({std::string(2 * depth(report.profile, i), ' ') + std::string(entry.name),
               fmt::format("{:g}", static_cast<double>(entry.calls) / steps),
               time_of(entry.seconds / steps, gpu),
               fmt::format("{:.1f} %", 100.0 * entry.seconds / report.profiled_seconds),
               rate(entry.work.flops, entry.seconds, unit.size), rate(entry.work.bytes, entry.seconds, 1e9),
               share_of_ceiling(entry.work, entry.seconds, report.ceilings)});
  }
  return table.text(/*indent=*/2);
}

std::string dtype_of(const config::Config& config) {
  return config.train.dtype == config::Dtype::kBfloat16 ? "bfloat16" : "float32";
}

std::string shape_line(const config::Config& config, int threads, int64_t num_ranks) {
  return fmt::format("T = {}, B = {} in micro-batches of {}, {}, {}{}", config.data.sequence_length,
                     config.train.global_batch_size, config.train.micro_batch_size, dtype_of(config),
                     num_ranks > 1 ? fmt::format("{} ranks of ", num_ranks) : "",
                     core::counted(threads, "thread"));
}

// Time of the gradient's communication between the ranks, and the part of it that the step waits for.
std::string communication_line(const StepReport& report) {
  const auto steps = static_cast<double>(report.seconds.size());
  const parallel::CommunicationTime& time = report.communication;
  return fmt::format(
      "  ranks      {} buckets, {:.1f} ms of communication per step, {:.1f} ms of it exposed "
      "({:.1f} % of the step)\n",
      report.num_buckets, 1e3 * time.total / steps, 1e3 * time.exposed / steps,
      100.0 * time.exposed / total(report.seconds));
}

double mib(uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

std::string memory_line(const StepReport& report) {
  if (!on_gpu(report.config)) {
    return fmt::format("  memory     peak {:.0f} MiB, estimate {:.0f} MiB\n", mib(report.peak_bytes),
                       mib(report.estimated_bytes));
  }
  return fmt::format(
      "  memory     GPU: peak {:.0f} MiB in tensors ({:.0f} MiB reserved), estimate {:.0f} MiB; host: peak "
      "{:.0f} MiB\n",
      mib(report.device_memory.allocated), mib(report.device_memory.reserved), mib(report.estimated_bytes),
      mib(report.peak_bytes));
}

// Reports the host's share, and that the profile below is from other steps.
std::string gpu_lines(const StepReport& report) {
  constexpr double kHostIsTheBottleneck = 0.9;
  const double step = total(report.seconds) / static_cast<double>(report.seconds.size());
  const double share = report.queue_seconds / step;
  return fmt::format(
             "  host       {:.2f} ms to queue a step, {:.0f} % of its time{}\n", 1e3 * report.queue_seconds,
             100.0 * share,
             share > kHostIsTheBottleneck ? ": the GPU waits for the host" : ", while the GPU computes") +
         fmt::format("  profile    operations by the GPU's events, in {} other steps of {:.1f} ms each\n",
                     report.profiled_steps,
                     1e3 * report.profiled_seconds / static_cast<double>(report.profiled_steps));
}

Json shape_json(const config::Config& config, int threads, int64_t num_ranks) {
  return {{"device", on_gpu(config) ? "cuda" : "cpu"},
          {"hidden_size", config.model.hidden_size},
          {"num_hidden_layers", config.model.num_hidden_layers},
          {"num_attention_heads", config.model.num_attention_heads},
          {"intermediate_size", config.model.intermediate_size},
          {"vocab_size", config.model.vocab_size},
          {"sequence_length", config.data.sequence_length},
          {"global_batch_size", config.train.global_batch_size},
          {"micro_batch_size", config.train.micro_batch_size},
          {"dtype", dtype_of(config)},
          {"ranks", num_ranks},
          {"threads", threads}};
}

}  // namespace

std::string to_table(const StepReport& report) {
  const auto tokens = static_cast<double>(report.tokens_per_step);
  std::string text = fmt::format("{} parameters, {} attention, {}\n",
                                 core::human_count(static_cast<double>(report.num_parameters)),
                                 to_string(report.config.model.attention.kind),
                                 shape_line(report.config, report.threads, report.num_ranks));
  text += fmt::format("  speed      {:.0f} tokens/s (quartiles {:.0f} to {:.0f}; {} steps of {:.1f} ms)\n",
                      tokens_per_second(report), tokens / quantile(report.seconds, 0.75),
                      tokens / quantile(report.seconds, 0.25), report.seconds.size(),
                      1e3 * median(report.seconds));
  const FlopsUnit unit = flops_unit(report.config);
  text += fmt::format("  GEMM share {:.1f} % of {:.1f} {}, at {:.1f} MFLOP per token\n",
                      100.0 * gemm_share(report), report.ceilings.product_flops / unit.size, unit.name,
                      report.flops_per_token * 1e-6);
  if (const auto share = mfu(report)) {
    text += fmt::format("  MFU        {:.1f} % of {:.1f} {}, the peak of the spec sheet\n", 100.0 * *share,
                        *report.spec_sheet_flops / unit.size, unit.name);
  }
  text +=
      fmt::format("  ceilings   GEMM {:.1f} {}, copy {:.1f} GB/s (read and written)\n",
                  report.ceilings.product_flops / unit.size, unit.name, report.ceilings.copy_bytes * 1e-9);
  text += fmt::format(
      "  roofline   at these ceilings the operations would take {:.0f} % of the step's "
      "time\n",
      100.0 * roofline_ratio(report));
  if (report.num_ranks > 1) text += communication_line(report);
  text += memory_line(report);
  if (on_gpu(report.config)) text += gpu_lines(report);
  text += "\n";
  return text + profile_table(report);
}

std::string to_json(const StepReport& report) {
  const auto steps = static_cast<double>(report.seconds.size());
  const auto profiled_steps = static_cast<double>(report.profiled_steps);
  Json json = shape_json(report.config, report.threads, report.num_ranks);
  json["attention"] = to_string(report.config.model.attention.kind);
  json["parameters"] = report.num_parameters;
  json["tokens_per_step"] = report.tokens_per_step;
  json["tokens_per_second"] = tokens_per_second(report);
  json["gemm_share"] = gemm_share(report);
  if (const auto share = mfu(report)) {
    json["mfu"] = *share;
    json["spec_sheet_flops_per_second"] = *report.spec_sheet_flops;
  }
  json["flops_per_token"] = report.flops_per_token;
  json["seconds"] = report.seconds;
  json["ceilings"] = {{"product_flops_per_second", report.ceilings.product_flops},
                      {"copy_bytes_per_second", report.ceilings.copy_bytes}};
  json["roofline_ratio"] = roofline_ratio(report);
  if (report.num_ranks > 1) {
    json["communication"] = {{"buckets", report.num_buckets},
                             {"total_seconds_per_step", report.communication.total / steps},
                             {"exposed_seconds_per_step", report.communication.exposed / steps}};
  }
  json["peak_bytes"] = report.peak_bytes;
  if (on_gpu(report.config)) {
    json["device_peak_bytes"] = report.device_memory.allocated;
    json["device_reserved_bytes"] = report.device_memory.reserved;
    json["queue_seconds_per_step"] = report.queue_seconds;
    json["profiled_steps"] = report.profiled_steps;
    json["profiled_seconds_per_step"] = report.profiled_seconds / profiled_steps;
  }
  json["estimated_bytes"] = report.estimated_bytes;
  json["profile"] = Json::array();
  for (const Entry& entry : report.profile) {
    const bool inside = entry.parent >= 0;
    json["profile"].push_back(
        {{"name", entry.name},
         {"inside", inside ? Json(report.profile[static_cast<size_t>(entry.parent)].name) : Json(nullptr)},
         {"calls_per_step", static_cast<double>(entry.calls) / profiled_steps},
         {"seconds_per_step", entry.seconds / profiled_steps},
         {"flops_per_step", entry.work.flops / profiled_steps},
         {"bytes_per_step", entry.work.bytes / profiled_steps}});
  }
  return core::json_text(json) + "\n";
}

std::string to_table(const AttentionReport& report) {
  const double tokens =
      static_cast<double>(report.config.train.global_batch_size * report.config.data.sequence_length);
  std::string text = fmt::format(
      "{} rounds, {} of each kind in turn; {}\n", report.seconds[0].size(),
      report.steps_in_turn == 1 ? std::string("one step") : fmt::format("{} steps", report.steps_in_turn),
      shape_line(report.config, report.threads, report.num_ranks));
  report::TextTable table({Align::kLeft, Align::kRight, Align::kRight, Align::kRight});
  table.add({"attention", "tokens/s", "time of a step", "95 % interval"});
  table.add_rule();
  for (size_t kind = 0; kind < report.kinds.size(); ++kind) {
    const PairedRatio ratio = paired_ratio(report.seconds[kind], report.seconds[0]);
    table.add({std::string(to_string(report.kinds[kind])),
               fmt::format("{:.0f}", tokens / median(report.seconds[kind])),
               kind == 0 ? "1" : fmt::format("{:.4f} x", ratio.ratio),
               kind == 0 ? "" : fmt::format("{:.4f} .. {:.4f}", ratio.low, ratio.high)});
  }
  return text + table.text(/*indent=*/2);
}

std::string to_json(const AttentionReport& report) {
  const double tokens =
      static_cast<double>(report.config.train.global_batch_size * report.config.data.sequence_length);
  Json json = shape_json(report.config, report.threads, report.num_ranks);
  json["steps_in_turn"] = report.steps_in_turn;
  json["baseline"] = to_string(report.kinds[0]);
  json["attention"] = Json::array();
  for (size_t kind = 0; kind < report.kinds.size(); ++kind) {
    const PairedRatio ratio = paired_ratio(report.seconds[kind], report.seconds[0]);
    json["attention"].push_back({{"kind", to_string(report.kinds[kind])},
                                 {"tokens_per_second", tokens / median(report.seconds[kind])},
                                 {"seconds", report.seconds[kind]},
                                 {"time_ratio", ratio.ratio},
                                 {"time_ratio_low", ratio.low},
                                 {"time_ratio_high", ratio.high}});  // null for one round
  }
  return core::json_text(json) + "\n";
}

}  // namespace ssgpt::bench
