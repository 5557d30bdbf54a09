#include "config/validation.h"

#include "config/schema.h"
#include "core/text.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::config {

namespace {

class Rules {
 public:
  Rules(const Config& config, const Entries& entries, const std::vector<std::string>& faulty,
        const std::string& file, Faults& faults)
      : config_(config), entries_(entries), faulty_(faulty), file_(file), faults_(faults) {}

  void model();
  void positions();
  void floor();
  void data();
  void examples();
  void examples_without_documents();
  void warmup_epochs();
  void samples();
  void batch();
  void swap();
  void schedule();
  void attention_backend();

 private:
  // Whether all of these keys were read without a fault.
  bool sound(std::initializer_list<std::string_view> keys) const {
    return std::none_of(keys.begin(), keys.end(), [this](std::string_view key) {
      return std::find(faulty_.begin(), faulty_.end(), key) != faulty_.end();
    });
  }

  // Adds a fault of `key`, with its value, at the place where it is set.
  template <typename... Args>
  void fault(std::string_view key, fmt::format_string<Args...> format, Args&&... args) {
    const auto found = entries_.find(key);
    add_fault(faults_, found != entries_.end() ? found->second.origin : Origin{file_, 0},
              fmt::format("{} = {}: {}", key, find_key(key)->write(config_),
                          fmt::format(format, std::forward<Args>(args)...)));
  }

  const Config& config_;
  const Entries& entries_;
  const std::vector<std::string>& faulty_;
  const std::string& file_;
  Faults& faults_;
};

// At most eight divisors of `number` that satisfy `allowed`: those nearest to `wish`, in ascending order.
template <typename Predicate>
std::string divisors_near(int64_t number, int64_t wish, Predicate allowed) {
  constexpr size_t kShown = 8;
  std::vector<int64_t> divisors;
  for (int64_t small = 1; small * small <= number; ++small) {
    if (number % small == 0) {
      divisors.push_back(small);
      if (small * small != number) {
        divisors.push_back(number / small);
      }
    }
  }
  std::erase_if(divisors, [&](int64_t divisor) { return !allowed(divisor); });
  const auto distance = [wish](int64_t divisor) {
    return std::max(divisor, wish) - std::min(divisor, wish);
  };
  std::sort(divisors.begin(), divisors.end(),
            [&](int64_t a, int64_t b) { return distance(a) < distance(b); });
  divisors.resize(std::min(divisors.size(), kShown));
  std::sort(divisors.begin(), divisors.end());
  return divisors.empty() ? "none" : fmt::format("{}", fmt::join(divisors, ", "));
}

void Rules::model() {
  const ModelConfig& model = config_.model;
  if (sound({"model.hidden_size", "model.num_attention_heads"})) {
    const int64_t hidden = model.hidden_size;
    const int64_t heads = model.num_attention_heads;
    if (hidden % heads != 0 || hidden / heads % 2 != 0) {
      fault("model.num_attention_heads",
            "hidden_size {} / {} must be a whole, even head dimension, not {:g}; numbers of heads that work: "
            "{}",
            hidden, core::counted(heads, "head"), static_cast<double>(hidden) / static_cast<double>(heads),
            divisors_near(hidden, heads, [hidden](int64_t divisor) { return hidden / divisor % 2 == 0; }));
    }
  }
  if (sound({"model.attention.kind", "model.attention.scale_init", "model.attention.bias_init",
             "train.swap_attention"})) {
    const auto needs_scale = [&](AttentionKind kind) {
      return has_scale(kind) && !(has_bias(kind) && model.attention.bias_init != 0.0);
    };
    if (model.attention.scale_init == 0.0 && any_kind(config_, needs_scale)) {
      fault("model.attention.scale_init",
            "must not be 0 without a bias: every score would be 0, and the queries and keys would not learn");
    }
  }
}

// Rules on which dimensions and which layers are rotated.
void Rules::positions() {
  constexpr std::string_view kNope = "model.nope_layers";
  constexpr std::string_view kFraction = "model.rope_fraction";
  const ModelConfig& model = config_.model;
  if (sound({kNope, "model.num_hidden_layers"})) {
    const int64_t layers = model.num_hidden_layers;
    std::vector<std::string> missing;
    for (const int64_t layer : model.nope_layers.layers) {
      if (layer >= layers) missing.push_back(std::to_string(layer));
    }
    if (model.nope_layers.every.value_or(0) > layers) {
      fault(kNope, "there is no layer {}; every must be at most model.num_hidden_layers = {}",
            *model.nope_layers.every - 1, layers);
    } else if (!missing.empty()) {
      fault(kNope, "there {} {}; layers are 0 to model.num_hidden_layers - 1 = {}",
            missing.size() == 1 ? "is no layer" : "are no layers", core::listed(missing), layers - 1);
    }
  }
  if (!sound({kFraction, "model.hidden_size", "model.num_attention_heads"}) ||
      model.hidden_size % model.num_attention_heads != 0 || head_dim(model) % 2 != 0 ||
      rotated_dims(model.rope_fraction, head_dim(model))) {
    return;
  }
  const int64_t dims = head_dim(model);
  const double asked = model.rope_fraction * static_cast<double>(dims);
  const int64_t below = std::max<int64_t>(2, 2 * static_cast<int64_t>(asked / 2.0));
  std::vector<double> fractions;
  for (int64_t number = below; number <= std::min(dims, below + 2); number += 2)
    fractions.push_back(static_cast<double>(number) / static_cast<double>(dims));
  fault(
      kFraction,
      "of the head dimension {} (hidden_size {} / {}) it is {:g} dimension{}, and must be an even number of "
      "them, 2 or more; fractions that work: {}",
      dims, model.hidden_size, core::counted(model.num_attention_heads, "head"), asked,
      asked == 1.0 ? "" : "s", fmt::join(fractions, ", "));
}

void Rules::floor() {
  if (!sound({"model.attention.kind", "train.swap_attention"})) return;
  const AttentionConfig& attention = config_.model.attention;
  if (any_kind(config_, has_floor)) return;
  const auto refuse = [&](std::string_view key) {
    fault(key,
          "has no effect with model.attention.kind = {}; leave it at auto, or choose {}, there or in "
          "train.swap_attention",
          to_string(attention.kind), names_with_floor());
  };
  if (attention.attn_scale) refuse("model.attention.attn_scale");
  if (attention.floor_scale) refuse("model.attention.floor_scale");
}

void Rules::data() {
  const DataConfig& data = config_.data;
  if (sound({"data.reset_at_document", "data.document_token_id", "data.tokenizer"}) &&
      data.reset_at_document && !data.document_token_id && !data.tokenizer) {
    fault("data.reset_at_document", "needs data.document_token_id, or data.tokenizer to take it from");
  }
  if (sound({"data.document_token_id", "model.vocab_size"}) &&
      data.document_token_id.value_or(0) >= config_.model.vocab_size) {
    fault("data.document_token_id", "must be below model.vocab_size = {}", config_.model.vocab_size);
  }
  if (sound({"evaluate.every", "data.validation"}) && config_.evaluate.every > 0 && data.validation.empty()) {
    fault("evaluate.every", "needs data.validation; 0 switches validation off");
  }
}

// With sft, examples never attend to each other, and no token separates documents.
void Rules::examples_without_documents() {
  if (!sound({"data.reset_at_document", "data.document_token_id"})) return;
  const DataConfig& data = config_.data;
  if (data.reset_at_document) {
    fault("data.reset_at_document", "has no effect with data.format = sft, where no example sees another");
  }
  if (data.document_token_id) {
    fault("data.document_token_id", "has no effect with data.format = sft: examples hold no documents");
  }
}

// Applies while the number of steps per epoch is still unknown.
void Rules::warmup_epochs() {
  constexpr std::string_view kWarmup = "optimizer.schedule.warmup_epochs";
  const ScheduleConfig& schedule = config_.optimizer.schedule;
  if (!config_.train.epochs || !schedule.warmup_epochs || schedule.total_steps) return;
  if (!sound({"optimizer.schedule.kind", "optimizer.schedule.decay_steps", "optimizer.schedule.total_steps"}))
    return;
  const bool ends_with_cosine = schedule.kind == ScheduleKind::kCosine && schedule.decay_steps == 0;
  if (*schedule.warmup_epochs > *config_.train.epochs) {
    fault(kWarmup, "must not be above train.epochs = {}", *config_.train.epochs);
  } else if (ends_with_cosine && *schedule.warmup_epochs == *config_.train.epochs) {
    fault(kWarmup, "must be below train.epochs = {}, at which the cosine ends", *config_.train.epochs);
  }
}

void Rules::examples() {
  constexpr std::string_view kEpochs = "train.epochs";
  constexpr std::string_view kWarmup = "optimizer.schedule.warmup_epochs";
  if (!sound({"data.format", "data.tokenizer", "data.on_long_example", kEpochs, kWarmup})) return;
  const DataConfig& data = config_.data;
  const ScheduleConfig& schedule = config_.optimizer.schedule;
  if (data.format == DataFormat::kSft) {
    if (!data.tokenizer) fault("data.format", "needs data.tokenizer, as the examples are text");
    if (config_.train.epochs && config_.train.max_steps > 0) {
      fault(kEpochs, "train.max_steps = {} says how long to train as well; set one of them",
            config_.train.max_steps);
    }
    if (schedule.warmup_epochs && schedule.warmup_steps > 0) {
      fault(kWarmup, "optimizer.schedule.warmup_steps = {} says how long as well; set one of them",
            schedule.warmup_steps);
    }
    examples_without_documents();
    warmup_epochs();
    return;
  }
  if (config_.train.epochs) fault(kEpochs, "needs data.format = sft; otherwise set train.max_steps");
  if (schedule.warmup_epochs) {
    fault(kWarmup, "needs data.format = sft; otherwise set optimizer.schedule.warmup_steps");
  }
  if (data.on_long_example != OnLongExample::kStop) {
    fault("data.on_long_example", "has no effect without data.format = sft");
  }
}

void Rules::samples() {
  constexpr std::string_view kPrompts = "evaluate.samples.prompts";
  if (!sound({kPrompts, "evaluate.every", "data.tokenizer"}) || config_.evaluate.samples.prompts.empty()) {
    return;
  }
  if (config_.evaluate.every == 0) {
    fault(kPrompts, "are continued at each validation: needs evaluate.every");
  }
  if (!config_.data.tokenizer) {
    fault(kPrompts, "need data.tokenizer to be read");
  }
}

void Rules::batch() {
  const TrainConfig& train = config_.train;
  if (!sound({"train.global_batch_size", "train.micro_batch_size"})) {
    return;
  }
  const int64_t global = train.global_batch_size;
  const int64_t micro = train.micro_batch_size;
  if (global % micro != 0) {
    fault("train.micro_batch_size", "must divide train.global_batch_size = {}; sizes that do: {}", global,
          divisors_near(global, micro, [](int64_t) { return true; }));
  }
  if (sound({"train.max_steps", "data.sequence_length"})) {
    int64_t tokens = 0;
    if (__builtin_mul_overflow(global * config_.data.sequence_length, train.max_steps, &tokens)) {
      fault("train.max_steps",
            "with {} sequences of {} tokens per step, the number of tokens does not fit 63 bits", global,
            config_.data.sequence_length);
    }
  }
}

// A swap after the last step is allowed: a finished run has it when its attention was swapped then.
void Rules::swap() {
  constexpr std::string_view kSwaps = "train.swap_attention";
  if (!sound({kSwaps, "model.attention.kind", "train.max_steps"})) return;
  AttentionKind before = config_.model.attention.kind;
  int64_t last_step = -1;
  for (const SwapAttention& swap : config_.train.swap_attention) {
    if (swap.at_step == last_step) {
      fault(kSwaps, "two swaps at step {}; one step has one", swap.at_step);
    } else if (swap.at_step > config_.train.max_steps) {
      fault(kSwaps, "at_step {} is above train.max_steps = {}", swap.at_step, config_.train.max_steps);
    } else if (swap.kind == before) {
      fault(kSwaps, "at step {} the kind is {} already; a swap needs another kind", swap.at_step,
            to_string(before));
    }
    last_step = swap.at_step;
    before = swap.kind;
  }
}

void Rules::schedule() {
  const ScheduleConfig& schedule = config_.optimizer.schedule;
  constexpr std::string_view kKind = "optimizer.schedule.kind";
  constexpr std::string_view kWarmup = "optimizer.schedule.warmup_steps";
  constexpr std::string_view kDecay = "optimizer.schedule.decay_steps";
  constexpr std::string_view kMinLr = "optimizer.schedule.min_lr";
  constexpr std::string_view kTotal = "optimizer.schedule.total_steps";
  if (sound({"optimizer.lr", kMinLr}) && schedule.min_lr > config_.optimizer.lr) {
    fault(kMinLr, "must not be above optimizer.lr = {}", config_.optimizer.lr);
  }
  if (!sound({kKind, kWarmup, kDecay, kTotal, "train.max_steps"})) {
    return;
  }
  const int64_t max_steps = config_.train.max_steps;
  const bool wsd = schedule.kind == ScheduleKind::kWsd;
  if (schedule.kind == ScheduleKind::kConstant) {
    for (const std::string_view key : {kDecay, kMinLr}) {
      if (sound({key}) && (key == kDecay ? schedule.decay_steps > 0 : schedule.min_lr > 0)) {
        fault(key, "has no effect with {} = constant; leave it at 0", kKind);
      }
    }
  }
  if (schedule.total_steps && !ends_at_total_steps(schedule)) {
    fault(kTotal, "has no effect with {}; leave it at auto",
          schedule.kind == ScheduleKind::kConstant
              ? fmt::format("{} = constant", kKind)
              : fmt::format("{} = {}, where the cosine ends", kDecay, schedule.decay_steps));
  }
  if (wsd && schedule.decay_steps == 0) {
    fault(kDecay, "{} = wsd needs the number of steps in which the rate falls, 1 or more", kKind);
  }
  const int64_t end = schedule.total_steps.value_or(max_steps);
  const std::string end_name = fmt::format("{} = {}", schedule.total_steps ? kTotal : "train.max_steps", end);
  if (schedule.warmup_steps > end) {
    fault(kWarmup, "must not be above {}", end_name);
  } else if (wsd && schedule.warmup_steps + schedule.decay_steps > end) {
    fault(kDecay, "with the {} steps of warm-up it is above {}", schedule.warmup_steps, end_name);
  }
  const int64_t cosine_end = schedule.decay_steps > 0 ? schedule.decay_steps : end;
  if (schedule.kind == ScheduleKind::kCosine && schedule.warmup_steps >= cosine_end) {
    fault(kWarmup, "must be below the step at which the cosine ends, {}", cosine_end);
  }
}

// Device auto counts as a GPU, so that a config is valid on all machines or on none.
void Rules::attention_backend() {
  constexpr std::string_view kBackend = "train.attention_backend";
  const TrainConfig& train = config_.train;
  if (train.attention_backend == AttentionBackend::kAuto || train.device == Device::kCpu ||
      !sound({kBackend, "train.device", "train.dtype", "train.deterministic", "data.reset_at_document",
              "model.hidden_size", "model.num_attention_heads"}) ||
      config_.model.hidden_size % config_.model.num_attention_heads != 0) {
    return;
  }
  if (const auto reason = obstacle(train.attention_backend, config_)) fault(kBackend, "{}", *reason);
}

}  // namespace

void validate(const Config& config, const Entries& entries, const std::vector<std::string>& faulty,
              const std::string& file, Faults& faults) {
  Rules rules(config, entries, faulty, file, faults);
  rules.model();
  rules.positions();
  rules.floor();
  rules.data();
  rules.examples();
  rules.samples();
  rules.batch();
  rules.swap();
  rules.schedule();
  rules.attention_backend();
}

}  // namespace ssgpt::config
