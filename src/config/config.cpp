#include "config/config.h"

#include "config/faults.h"
#include "config/resolve.h"
#include "config/schema.h"
#include "config/source.h"
#include "config/validation.h"
#include "core/check.h"
#include "core/error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <yaml-cpp/yaml.h>

namespace ssgpt::config {

namespace {

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  size_t start = 0;
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', start)) {
    parts.push_back(name.substr(start, dot - start));
    start = dot + 1;
  }
  parts.push_back(name.substr(start));
  return parts;
}

// Whether train.epochs, which the schema lists before it, determines this key.
bool follows_from_epochs(std::string_view key, const Config& config) {
  return key == "train.max_steps" && config.train.epochs.has_value();
}

// Throws core::UsageError listing all faults.
Config resolve_soundly(const Source& source, const std::string& file) {
  Faults faults;
  Config config = resolve(source, file, faults);
  throw_if_any(faults);
  return config;
}

}  // namespace

Config resolve(const Source& source, const std::string& file, Faults& faults) {
  Config config;
  faults.add(source.faults());
  std::vector<std::string> faulty;
  for (const Key& key : schema()) {
    const auto entry = source.entries().find(key.name);
    if (entry == source.entries().end()) {
      if (!key.required) continue;
      if (!follows_from_epochs(key.name, config)) {
        add_fault(faults, {file, 0}, fmt::format("{} is missing: {}", key.name, expected(key)));
      }
      faulty.push_back(key.name);  // unknown: rules that need it are skipped
      continue;
    }
    const auto& [value, origin] = entry->second;
    if (!key.read(value, config)) {
      add_fault(faults, origin, wrong_value(key, value));
      faulty.push_back(key.name);
    }
  }
  validate(config, source.entries(), faulty, file, faults);
  ModelConfig& model = config.model;
  model.nope_layers = {.layers = resolved_layers(model.nope_layers, model.num_hidden_layers), .every = {}};
  if (model.num_attention_heads > 0) {
    model.rope_fraction = exact_fraction(model.rope_fraction, head_dim(model));
  }
  return config;
}

std::string_view to_string(Dtype dtype) {
  switch (dtype) {
    case Dtype::kAuto:
      return "auto";
    case Dtype::kFloat32:
      return "float32";
    case Dtype::kBfloat16:
      return "bfloat16";
  }
  SSGPT_CHECK(false, "dtype {} has no name", static_cast<int>(dtype));
}

std::string_view to_string(AttentionBackend backend) {
  switch (backend) {
    case AttentionBackend::kAuto:
      return "auto";
    case AttentionBackend::kCudnn:
      return "cudnn";
    case AttentionBackend::kFlash:
      return "flash";
    case AttentionBackend::kEfficient:
      return "efficient";
  }
  SSGPT_CHECK(false, "attention backend {} has no name", static_cast<int>(backend));
}

std::string_view to_string(QkNorm norm) {
  return norm == QkNorm::kRms ? "rms" : "none";
}

Config load(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  Source source;
  source.add_file(path);
  for (const std::string& text : overrides) {
    source.add_override(text);
  }
  return resolve_soundly(source, path.string());
}

Config load_stored(const std::filesystem::path& path) {
  Source source(Includes::kRefuse);
  source.add_file(path);
  return resolve_soundly(source, path.string());
}

Config parse(std::string_view text, std::string_view origin, const std::vector<std::string>& overrides) {
  Source source(Includes::kRefuse);
  source.add_text(text, std::string(origin), /*directory=*/"");
  for (const std::string& override_text : overrides) {
    source.add_override(override_text);
  }
  return resolve_soundly(source, std::string(origin));
}

std::string dump(const Config& config) {
  std::string text;
  std::vector<std::string> open_sections;
  for (const Key& key : schema()) {
    std::vector<std::string> parts = parts_of(key.name);
    const std::string word = std::move(parts.back());
    parts.pop_back();
    const auto [open_end, parts_end] =
        std::mismatch(open_sections.begin(), open_sections.end(), parts.begin(), parts.end());
    for (auto part = parts_end; part != parts.end(); ++part) {
      text += fmt::format("{:{}}{}:\n", "", 2 * (part - parts.begin()), *part);
    }
    text += fmt::format("{:{}}{}: {}\n", "", 2 * parts.size(), word, key.write(config));
    open_sections = std::move(parts);
  }
  return text;
}

std::vector<Difference> differences(const Config& before, const Config& after) {
  std::vector<Difference> list;
  for (const Key& key : schema()) {
    std::string old_value = key.write(before);
    std::string new_value = key.write(after);
    if (old_value != new_value) {
      list.push_back({key.name, std::move(old_value), std::move(new_value), key.resume});
    }
  }
  return list;
}

std::vector<KeyDescription> key_descriptions() {
  const Config defaults;
  std::vector<KeyDescription> descriptions;
  for (const Key& key : schema()) {
    descriptions.push_back({.name = key.name,
                            .meaning = key.meaning,
                            .allowed = key.allowed,
                            .default_value = key.required ? std::nullopt : std::optional(key.write(defaults)),
                            .resume = key.resume,
                            .words = key.choices,
                            .takes_path = key.takes_path});
  }
  return descriptions;
}

std::string describe_keys() {
  std::string text;
  for (const KeyDescription& key : key_descriptions()) {
    const std::string value = key.default_value ? fmt::format("default {}", *key.default_value) : "required";
    text += fmt::format("  {}: {}\n      {}; {}{}\n", key.name, key.meaning, key.allowed, value,
                        key.resume == ResumeRule::kMayChange ? "; a resume may change it" : "");
  }
  return text;
}

int64_t head_dim(const ModelConfig& model) {
  return model.hidden_size / model.num_attention_heads;
}

std::optional<int64_t> rotated_dims(double rope_fraction, int64_t head_dim) {
  constexpr double kTolerance = 1e-4;  // so that 0.333333 of 24 counts as 8
  if (!(rope_fraction > 0.0 && rope_fraction <= 1.0)) return std::nullopt;
  const double dims = rope_fraction * static_cast<double>(head_dim);
  const int64_t whole = std::llround(dims);
  const bool allowed = whole >= 2 && whole <= head_dim && whole % 2 == 0 &&
                       std::abs(dims - static_cast<double>(whole)) < kTolerance;
  return allowed ? std::optional(whole) : std::nullopt;
}

int64_t rotated_dims(const ModelConfig& model) {
  const std::optional<int64_t> dims = rotated_dims(model.rope_fraction, head_dim(model));
  SSGPT_CHECK(dims.has_value(), "rope_fraction {} of a head dimension of {}", model.rope_fraction,
              head_dim(model));
  return *dims;
}

double exact_fraction(double rope_fraction, int64_t head_dim) {
  const std::optional<int64_t> dims = rotated_dims(rope_fraction, head_dim);
  if (!dims) return rope_fraction;
  const auto rotated = static_cast<double>(*dims);
  const auto whole = static_cast<double>(head_dim);
  const double quotient = rotated / whole;
  return quotient * whole < rotated ? std::nextafter(quotient, 1.0) : quotient;
}

bool is_rotated(const ModelConfig& model, int64_t layer) {
  const std::vector<int64_t>& nope = model.nope_layers.layers;
  SSGPT_CHECK(!model.nope_layers.every, "nope_layers are not resolved");
  return std::find(nope.begin(), nope.end(), layer) == nope.end();
}

bool has_rope(const ModelConfig& model) {
  return static_cast<int64_t>(model.nope_layers.layers.size()) < model.num_hidden_layers;
}

std::vector<int64_t> resolved_layers(const NopeLayers& nope, int64_t num_layers) {
  if (!nope.every) return nope.layers;
  std::vector<int64_t> layers;
  for (int64_t layer = *nope.every - 1; layer < num_layers; layer += *nope.every) layers.push_back(layer);
  return layers;
}

void add_swap(Config& config, const SwapAttention& swap) {
  std::vector<SwapAttention>& swaps = config.train.swap_attention;
  std::erase_if(swaps, [&](const SwapAttention& other) { return other.at_step == swap.at_step; });
  const auto after = std::find_if(swaps.begin(), swaps.end(),
                                  [&](const SwapAttention& other) { return other.at_step > swap.at_step; });
  swaps.insert(after, swap);
  AttentionKind kind = config.model.attention.kind;
  std::erase_if(swaps, [&kind](const SwapAttention& other) {
    const bool idle = other.kind == kind;
    kind = other.kind;
    return idle;
  });
}

AttentionKind attention_kind(const Config& config, int64_t update) {
  AttentionKind kind = config.model.attention.kind;
  for (const SwapAttention& swap : config.train.swap_attention) {
    if (swap.at_step < update) kind = swap.kind;
  }
  return kind;
}

bool any_kind(const Config& config, const std::function<bool(AttentionKind)>& predicate) {
  const std::vector<SwapAttention>& swaps = config.train.swap_attention;
  return predicate(config.model.attention.kind) ||
         std::any_of(swaps.begin(), swaps.end(),
                     [&](const SwapAttention& swap) { return predicate(swap.kind); });
}

bool ends_at_total_steps(const ScheduleConfig& schedule) {
  return schedule.kind == ScheduleKind::kWsd ||
         (schedule.kind == ScheduleKind::kCosine && schedule.decay_steps == 0);
}

void resolve_total_steps(Config& config) {
  ScheduleConfig& schedule = config.optimizer.schedule;
  if (ends_at_total_steps(schedule) && !schedule.total_steps) schedule.total_steps = config.train.max_steps;
}

int64_t accumulation_steps(const TrainConfig& train, int64_t num_ranks) {
  const int64_t global = train.global_batch_size;
  const int64_t micro = train.micro_batch_size;
  SSGPT_CHECK(micro > 0 && global % micro == 0 && num_ranks > 0, "global batch {} in micro-batches of {}",
              global, micro);
  const int64_t together = micro * num_ranks;
  if (global % together == 0) return global / together;
  std::string ways;
  const int64_t below = global / together * together;
  if (below > 0) ways += fmt::format("train.global_batch_size {} or {}", below, below + together);
  if (below == 0) ways += fmt::format("train.global_batch_size {}", together);
  std::vector<int64_t> micros;
  for (int64_t size = 1; size <= micro; ++size) {
    if (global % (size * num_ranks) == 0) micros.push_back(size);
  }
  if (!micros.empty()) ways += fmt::format("; train.micro_batch_size {}", fmt::join(micros, ", "));
  std::vector<int64_t> ranks;
  for (int64_t count = 1; count <= std::min(2 * num_ranks, global / micro); ++count) {
    if (global % (micro * count) == 0) ranks.push_back(count);
  }
  throw core::UsageError(
      "train.global_batch_size {} does not divide among {} ranks in micro-batches of {} "
      "(train.micro_batch_size). What does, one change at a time: {}; {} rank{}.",
      global, num_ranks, micro, ways, fmt::join(ranks, ", "), ranks == std::vector<int64_t>{1} ? "" : "s");
}

std::optional<std::string> obstacle(AttentionBackend backend, const Config& config) {
  struct Limits {
    int64_t head_dim_multiple;
    int64_t largest_head_dim;
    bool float32;
    bool deterministic;
    bool documents;
  };
  const auto limits_of = [](AttentionBackend of) -> Limits {
    switch (of) {
      case AttentionBackend::kCudnn:
        return {8, 128, false, false, false};
      case AttentionBackend::kFlash:
        return {8, 256, false, true, true};
      case AttentionBackend::kEfficient:
        return {4, std::numeric_limits<int64_t>::max(), true, true, true};
      case AttentionBackend::kAuto:
        break;
    }
    SSGPT_CHECK(false, "auto is no backend of attention");
  };
  const Limits limits = limits_of(backend);
  const int64_t hidden = config.model.hidden_size;
  const int64_t heads = config.model.num_attention_heads;
  std::vector<std::string> needs;
  if (!limits.float32 && config.train.dtype == Dtype::kFloat32) needs.emplace_back("train.dtype = bfloat16");
  if (!limits.deterministic && config.train.deterministic) needs.emplace_back("train.deterministic = false");
  if (!limits.documents && config.data.reset_at_document) {
    needs.emplace_back("data.reset_at_document = false");
  }
  if (!limits.documents && config.data.format == DataFormat::kSft) {
    needs.emplace_back("data.format = pretrain");
  }
  if (hidden / heads % limits.head_dim_multiple != 0) {
    needs.push_back(fmt::format(
        "a head dimension that {} divides, not {} (model.hidden_size {} / model.num_attention_heads {})",
        limits.head_dim_multiple, hidden / heads, hidden, heads));
  } else if (hidden / heads > limits.largest_head_dim) {
    needs.push_back(fmt::format(
        "a head dimension of at most {}, not {} (model.hidden_size {} / model.num_attention_heads {})",
        limits.largest_head_dim, hidden / heads, hidden, heads));
  }
  if (needs.empty()) return std::nullopt;
  return fmt::format("on a GPU it needs {}", fmt::join(needs, ", and "));
}

}  // namespace ssgpt::config
