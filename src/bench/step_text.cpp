#include "bench/step_text.h"

#include "core/text.h"
#include "metrics/meters.h"
#include "report/text_table.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

using Json = nlohmann::ordered_json;
using Align = report::TextTable::Align;
using Entry = core::HostProfile::Entry;

double median(const std::vector<double>& seconds) {
  return quantile(seconds, 0.5);
}

double mfu(const StepReport& report) {
  const double tokens_per_second = static_cast<double>(report.tokens_per_step) / median(report.seconds);
  return metrics::model_flops_utilization(tokens_per_second, report.flops_per_token,
                                          report.ceilings.product_flops);
}

double total(const std::vector<double>& seconds) {
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

// Phases in the order of the step, each followed by its operations, the longest first.
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

std::string rate(double work, double seconds) {
  return work > 0.0 && seconds > 0.0 ? fmt::format("{:.1f}", work / seconds * 1e-9) : "";
}

// The larger of the shares of the two ceilings: what bounds the operation.
std::string share_of_ceiling(const Entry& entry, const Ceilings& ceilings) {
  if (entry.seconds <= 0.0 || (entry.work.flops <= 0.0 && entry.work.bytes <= 0.0)) return "";
  const double product = entry.work.flops / entry.seconds / ceilings.product_flops;
  const double copy = entry.work.bytes / entry.seconds / ceilings.copy_bytes;
  return fmt::format("{:.0f} % {}", 100.0 * std::max(product, copy), product > copy ? "product" : "copy");
}

std::string profile_table(const StepReport& report) {
  const auto steps = static_cast<double>(report.seconds.size());
  report::TextTable table({Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight,
                           Align::kRight, Align::kRight});
  table.add({"phase and operation", "calls", "ms", "of step", "GFLOP/s", "GB/s", "of ceiling"});
  table.add_rule();
  for (const size_t i : reading_order(report.profile)) {
    const Entry& entry = report.profile[i];
    table.add({std::string(2 * depth(report.profile, i), ' ') + std::string(entry.name),
               fmt::format("{:g}", static_cast<double>(entry.calls) / steps),
               fmt::format("{:.2f}", 1e3 * entry.seconds / steps),
               fmt::format("{:.1f} %", 100.0 * entry.seconds / total(report.seconds)),
               rate(entry.work.flops, entry.seconds), rate(entry.work.bytes, entry.seconds),
               share_of_ceiling(entry, report.ceilings)});
  }
  return table.text(/*indent=*/2);
}

std::string dtype_of(const config::Config& config) {
  return config.train.dtype == config::Dtype::kBfloat16 ? "bfloat16" : "float32";
}

std::string shape_line(const config::Config& config, int threads, int64_t num_ranks) {
  return fmt::format("T = {}, B = {} in micro-batches of {}, {}, {}{} threads", config.data.sequence_length,
                     config.train.global_batch_size, config.train.micro_batch_size, dtype_of(config),
                     num_ranks > 1 ? fmt::format("{} ranks of ", num_ranks) : "", threads);
}

// How long the gradient is on its way through the ranks, and how much of it the step waits for.
std::string communication_line(const StepReport& report) {
  const auto steps = static_cast<double>(report.seconds.size());
  const parallel::CommunicationTime& time = report.communication;
  return fmt::format(
      "  ranks      {} buckets, {:.1f} ms of communication a step, {:.1f} ms of it exposed ({:.1f} % of the "
      "step)\n",
      report.num_buckets, 1e3 * time.total / steps, 1e3 * time.exposed / steps,
      100.0 * time.exposed / total(report.seconds));
}

double mib(uint64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

Json shape_json(const config::Config& config, int threads, int64_t num_ranks) {
  return {{"hidden_size", config.model.hidden_size},
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
                      tokens / median(report.seconds), tokens / quantile(report.seconds, 0.75),
                      tokens / quantile(report.seconds, 0.25), report.seconds.size(),
                      1e3 * median(report.seconds));
  text +=
      fmt::format("  MFU        {:.1f} % of {:.1f} GFLOP/s, at {:.1f} MFLOP a token\n", 100.0 * mfu(report),
                  report.ceilings.product_flops * 1e-9, report.flops_per_token * 1e-6);
  text += fmt::format("  ceilings   product {:.1f} GFLOP/s, copy {:.1f} GB/s (read and written)\n",
                      report.ceilings.product_flops * 1e-9, report.ceilings.copy_bytes * 1e-9);
  if (report.num_ranks > 1) text += communication_line(report);
  text += fmt::format("  memory     peak {:.0f} MiB, estimate {:.0f} MiB\n\n", mib(report.peak_bytes),
                      mib(report.estimated_bytes));
  return text + profile_table(report);
}

std::string to_json(const StepReport& report) {
  const auto tokens = static_cast<double>(report.tokens_per_step);
  const auto steps = static_cast<double>(report.seconds.size());
  Json json = shape_json(report.config, report.threads, report.num_ranks);
  json["attention"] = to_string(report.config.model.attention.kind);
  json["parameters"] = report.num_parameters;
  json["tokens_per_step"] = report.tokens_per_step;
  json["tokens_per_second"] = tokens / median(report.seconds);
  json["mfu"] = mfu(report);
  json["flops_per_token"] = report.flops_per_token;
  json["seconds"] = report.seconds;
  json["ceilings"] = {{"product_flops_per_second", report.ceilings.product_flops},
                      {"copy_bytes_per_second", report.ceilings.copy_bytes}};
  if (report.num_ranks > 1) {
    json["communication"] = {{"buckets", report.num_buckets},
                             {"total_seconds_per_step", report.communication.total / steps},
                             {"exposed_seconds_per_step", report.communication.exposed / steps}};
  }
  json["peak_bytes"] = report.peak_bytes;
  json["estimated_bytes"] = report.estimated_bytes;
  json["profile"] = Json::array();
  for (const Entry& entry : report.profile) {
    const bool inside = entry.parent >= 0;
    json["profile"].push_back(
        {{"name", entry.name},
         {"inside", inside ? Json(report.profile[static_cast<size_t>(entry.parent)].name) : Json(nullptr)},
         {"calls_per_step", static_cast<double>(entry.calls) / steps},
         {"seconds_per_step", entry.seconds / steps},
         {"flops_per_step", entry.work.flops / steps},
         {"bytes_per_step", entry.work.bytes / steps}});
  }
  return json.dump() + "\n";
}

std::string to_table(const AttentionReport& report) {
  const double tokens =
      static_cast<double>(report.config.train.global_batch_size * report.config.data.sequence_length);
  std::string text = fmt::format("{} rounds, one step of each kind in turn; {}\n", report.seconds[0].size(),
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
  return json.dump() + "\n";
}

}  // namespace ssgpt::bench
