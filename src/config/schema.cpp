#include "config/schema.h"

#include "config/codecs.h"
#include "config/source.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::config {

namespace {

constexpr ResumeRule kFixed = ResumeRule::kFixed;
constexpr ResumeRule kMayChange = ResumeRule::kMayChange;
constexpr int64_t kMaxSteps = 1'000'000'000;
constexpr int64_t kMaxEpochs = 1'000'000;

// `member(config)` returns a pointer to the value.
template <typename Member, typename Codec>
Key make_key(std::string name, Member member, Codec codec, ResumeRule resume, std::string meaning,
             bool required = false) {
  Key key;
  key.name = std::move(name);
  key.allowed = codec.allowed();
  key.meaning = std::move(meaning);
  key.choices = words_of(codec);
  key.takes_path = takes_path(codec);
  key.required = required;
  key.resume = resume;
  key.read = [member, codec](const YAML::Node& node, Config& config) {
    auto value = codec.read(node);
    if (value) {
      *member(config) = std::move(*value);
    }
    return value.has_value();
  };
  key.write = [member, codec](const Config& config) {
    return codec.write(*member(config));
  };
  return key;
}

template <typename... Args>
Key required(Args&&... args) {
  return make_key(std::forward<Args>(args)..., /*required=*/true);
}

Integer<int64_t> integer(int64_t min, int64_t max) {
  return {min, max};
}
Number at_least_zero() {
  return {.min = 0.0};
}
Number above_zero_to(double max) {
  return {.min = 0.0, .min_open = true, .max = max};
}

// Choice between enumerators by their names.
template <typename Enum, size_t kCount>
Choice<Enum> choice_of(const std::array<Enum, kCount>& values) {
  Choice<Enum> choice;
  for (const Enum one : values) choice.names.emplace_back(to_string(one), one);
  return choice;
}

Choice<AttentionKind> attention_kind() {
  Choice<AttentionKind> choice;
  for (const std::string& name : attention_kind_names()) {
    choice.names.emplace_back(name, *parse_attention_kind(name));
  }
  return choice;
}

// The name of a key is the path of its member in Config.
#define SSGPT_MEMBER(path)  \
#path, [](auto& config) { \
    return &config.path;    \
  }

void add_model(std::vector<Key>& keys) {
  const Number initial{.min = -1000.0, .max = 1000.0};
  const PositionConstants constants;
  keys.insert(
      keys.end(),
      {required(SSGPT_MEMBER(model.vocab_size), integer(2, std::numeric_limits<int32_t>::max()), kFixed,
                "vocabulary size; token ids are below it"),
       required(SSGPT_MEMBER(model.hidden_size), integer(2, 1 << 20), kFixed, "width of the residual stream"),
       required(SSGPT_MEMBER(model.num_hidden_layers), integer(1, kMaxLayers), kFixed, "number of layers"),
       required(SSGPT_MEMBER(model.num_attention_heads), integer(1, 1 << 16), kFixed,
                "attention heads per layer; hidden_size / num_attention_heads must be an even integer"),
       required(SSGPT_MEMBER(model.intermediate_size), integer(1, 1 << 22), kFixed,
                "width of the gated feed-forward network"),
       make_key(SSGPT_MEMBER(model.rope_theta), above_zero_to(1e15), kFixed, "base of the RoPE frequencies"),
       make_key(SSGPT_MEMBER(model.rope_fraction), above_zero_to(1.0), kFixed,
                "fraction of each head's dimensions that is rotated, starting from the first (Hugging Face's "
                "partial_rotary_factor); it must amount to an even number R of dimensions, whose frequencies "
                "are theta^(-2i/R)"),
       make_key(SSGPT_MEMBER(model.nope_layers), LayerChoice{integer(0, kMaxLayers - 1)}, kFixed,
                "layers, counted from 0, whose queries and keys are not rotated (NoPE); {every: K} means "
                "layers K - 1, 2K - 1, ..., as Hugging Face's no_rope_layer_interval counts"),
       make_key(
           SSGPT_MEMBER(model.qk_norm), choice_of(kQkNorms), kFixed,
           "normalisation of q and k; rms: RMSNorm over each head's dimensions, with learned gains, before "
           "RoPE and the row scale, as in Qwen 3"),
       make_key(SSGPT_MEMBER(model.rms_norm_eps), above_zero_to(1.0), kFixed,
                "epsilon added to the mean square in RMSNorm"),
       make_key(SSGPT_MEMBER(model.initializer_range), above_zero_to(10.0), kFixed,
                "standard deviation of the initial weights"),
       make_key(
           SSGPT_MEMBER(model.attention.kind), attention_kind(), kFixed,
           fmt::format("row scale, the factor on the attention scores of a query that sees n keys: {}. s and "
                       "b are learned for each head and layer, p_n for each n; T is data.sequence_length, a "
                       "is attn_scale, f is floor_scale",
                       list_row_scales())),
       make_key(SSGPT_MEMBER(model.attention.scale_init), Optional<Number>{initial, "auto"}, kFixed,
                "initial value of s where it multiplies log n; where it multiplies another function of n, as "
                "in softmax_temperature, s is converted to the same mean row scale over n = 1 to "
                "sequence_length; auto: the s for which that mean is 1"),
       make_key(SSGPT_MEMBER(model.attention.bias_init), initial, kFixed, "initial value of b"),
       make_key(SSGPT_MEMBER(model.attention.pn_init), choice_of(kPnInits), kFixed,
                "initial p_n: log n (log_n), or for every n its mean over n = 1 to sequence_length (flat)"),
       make_key(SSGPT_MEMBER(model.attention.attn_scale),
                Optional<Number>{above_zero_to(kMaxAttnScale), "auto"}, kFixed,
                fmt::format("the constant a of {}; auto: {}, as in Llama 4", names_with_floor(),
                            constants.attn_scale)),
       make_key(SSGPT_MEMBER(model.attention.floor_scale),
                Optional<Integer<int64_t>>{integer(1, kMaxFloorScale), "auto"}, kFixed,
                fmt::format("the constant f of {}, in keys; auto: {}, as in Llama 4", names_with_floor(),
                            constants.floor_scale))});
}

void add_data(std::vector<Key>& keys) {
  const Choice<DataFormat> format{{{"pretrain", DataFormat::kPretrain}, {"sft", DataFormat::kSft}}};
  keys.insert(
      keys.end(),
      {make_key(SSGPT_MEMBER(data.tokenizer), Optional<Path>{{}, "null"}, kFixed,
                "path of the sentencepiece model; optional where no text is needed"),
       required(SSGPT_MEMBER(data.train), TextList{.min_count = 1}, kFixed,
                "training data: token shards, or with data.format = sft files of examples (.jsonl, "
                ".jsonl.zst, or SQuAD's .json), by name or pattern, relative to the current directory"),
       make_key(SSGPT_MEMBER(data.validation), TextList{}, kMayChange, "validation data, in the same format"),
       make_key(SSGPT_MEMBER(data.sequence_length), integer(2, 1 << 24), kFixed,
                "number of tokens that each sequence predicts"),
       make_key(SSGPT_MEMBER(data.reset_at_document), Boolean{}, kFixed,
                "document masking: attention does not cross document boundaries"),
       make_key(SSGPT_MEMBER(data.document_token_id),
                Optional<Integer<int64_t>>{integer(0, std::numeric_limits<int32_t>::max()), "null"}, kFixed,
                "id of the token that ends a document, where no tokenizer provides it"),
       make_key(
           SSGPT_MEMBER(data.format), format, kFixed,
           "pretrain: token shards, with the loss over all tokens; sft: prompts with answers, with the loss "
           "over the answers only"),
       make_key(SSGPT_MEMBER(data.on_long_example),
                Choice<OnLongExample>{{{"stop", OnLongExample::kStop}, {"skip", OnLongExample::kSkip}}},
                kFixed,
                "sft: treatment of examples that do not fit into sequence_length: refuse them (stop), "
                "or leave them out and count them (skip)")});
}

void add_train(std::vector<Key>& keys) {
  const Choice<Device> device{{{"auto", Device::kAuto}, {"cpu", Device::kCpu}, {"cuda", Device::kCuda}}};
  const auto dtype = choice_of(std::array{Dtype::kAuto, Dtype::kFloat32, Dtype::kBfloat16});
  const auto backend = choice_of(std::array{AttentionBackend::kAuto, AttentionBackend::kCudnn,
                                            AttentionBackend::kFlash, AttentionBackend::kEfficient});
  keys.insert(
      keys.end(),
      {make_key(SSGPT_MEMBER(train.device), device, kMayChange,
                "device to compute on; auto: a GPU if there is one"),
       make_key(SSGPT_MEMBER(train.dtype), dtype, kFixed,
                "compute dtype; auto: bfloat16 on a GPU, and on a CPU if measured at least 10 % faster"),
       make_key(SSGPT_MEMBER(train.attention_backend), backend, kMayChange,
                "library whose fused attention a GPU runs (a CPU has its own); auto: the fastest that "
                "supports the config, measured once"),
       make_key(SSGPT_MEMBER(train.epochs), Optional<Integer<int64_t>>{integer(1, kMaxEpochs), "null"},
                kMayChange,
                "sft: passes over the examples, in place of max_steps; a new run converts it to max_steps"),
       required(SSGPT_MEMBER(train.max_steps), integer(1, kMaxSteps), kMayChange,
                "total number of updates; a resumed run continues up to it"),
       required(SSGPT_MEMBER(train.global_batch_size), integer(1, 1 << 24), kFixed,
                "sequences per step, over all ranks"),
       required(SSGPT_MEMBER(train.micro_batch_size), integer(1, 1 << 24), kMayChange,
                "sequences per micro-batch on each rank; divides global_batch_size"),
       make_key(SSGPT_MEMBER(train.clip_grad_norm), at_least_zero(), kFixed,
                "maximum global gradient norm; 0: no clipping"),
       make_key(SSGPT_MEMBER(train.tune_products), Boolean{}, kMayChange,
                "use the fastest algorithm, measured once, for each GEMM on a GPU; ignored if deterministic"),
       make_key(SSGPT_MEMBER(train.deterministic), Boolean{}, kMayChange,
                "bitwise reproducible results on a GPU; on a CPU they always are"),
       make_key(SSGPT_MEMBER(train.swap_attention), SwapList{integer(0, kMaxSteps), attention_kind()},
                kMayChange, "attention swaps, each to kind after step at_step; --swap-attention adds one"),
       make_key(SSGPT_MEMBER(train.on_nonfinite),
                Choice<OnNonfinite>{{{"stop", OnNonfinite::kStop}, {"skip", OnNonfinite::kSkip}}}, kMayChange,
                "reaction to a step whose loss or gradient norm is not finite"),
       make_key(SSGPT_MEMBER(train.on_spike),
                Choice<OnSpike>{{{"warn", OnSpike::kWarn}, {"stop", OnSpike::kStop}}}, kMayChange,
                "reaction to a sudden rise of the loss")});
}

void add_optimizer(std::vector<Key>& keys) {
  const Choice<ScheduleKind> schedule{{{"constant", ScheduleKind::kConstant},
                                       {"cosine", ScheduleKind::kCosine},
                                       {"wsd", ScheduleKind::kWsd}}};
  const Number beta{.min = 0.0, .max = 1.0, .max_open = true};
  keys.insert(
      keys.end(),
      {make_key(SSGPT_MEMBER(optimizer.lr), above_zero_to(100.0), kFixed, "learning rate after the warm-up"),
       make_key(SSGPT_MEMBER(optimizer.betas), NumberPair{beta}, kFixed,
                "decay rates of AdamW's first and second moment"),
       make_key(SSGPT_MEMBER(optimizer.eps), above_zero_to(1.0), kFixed, "AdamW's epsilon"),
       make_key(SSGPT_MEMBER(optimizer.weight_decay), Number{.min = 0.0, .max = 100.0}, kFixed,
                "decoupled weight decay of parameters of rank 2 or more, multiplied by the learning rate at "
                "each step; norms, s, b and p_n do not decay"),
       make_key(SSGPT_MEMBER(optimizer.scale_lr_multiplier), Number{.min = 0.0, .max = 1000.0}, kFixed,
                "factor on the learning rate of s, b and p_n; 0: they keep their initial values. They never "
                "decay. No effect on kinds that learn none of them"),
       make_key(SSGPT_MEMBER(optimizer.schedule.kind), schedule, kFixed, "learning-rate schedule"),
       make_key(SSGPT_MEMBER(optimizer.schedule.warmup_epochs),
                Optional<Integer<int64_t>>{integer(1, kMaxEpochs), "null"}, kFixed,
                "sft: warm-up in passes over the examples; a new run converts it to warmup_steps"),
       make_key(SSGPT_MEMBER(optimizer.schedule.warmup_steps), integer(0, kMaxSteps), kFixed,
                "number of steps over which the rate rises from 0 to lr"),
       make_key(SSGPT_MEMBER(optimizer.schedule.decay_steps), integer(0, kMaxSteps), kFixed,
                "wsd: number of final steps over which the rate falls; cosine: step at which the rate "
                "reaches min_lr, 0 for total_steps"),
       make_key(SSGPT_MEMBER(optimizer.schedule.min_lr), at_least_zero(), kFixed,
                "learning rate at the end of the decay and afterwards"),
       make_key(SSGPT_MEMBER(optimizer.schedule.total_steps),
                Optional<Integer<int64_t>>{integer(1, kMaxSteps), "auto"}, kMayChange,
                "step at which the decay of cosine and wsd ends; auto: train.max_steps of the new run, which "
                "a resume keeps"),
       make_key(SSGPT_MEMBER(optimizer.schedule.earlier_total_steps),
                EarlierScheduleList{integer(1, kMaxSteps)}, kMayChange,
                "values of total_steps before a resume changed it; written by the resume")});
}

void add_services(std::vector<Key>& keys) {
  keys.insert(
      keys.end(),
      {make_key(SSGPT_MEMBER(evaluate.every), integer(0, kMaxSteps), kMayChange,
                "steps between validations; 0: none"),
       make_key(SSGPT_MEMBER(evaluate.batches), integer(1, 1'000'000'000), kMayChange,
                "number of batches per validation, of train.global_batch_size sequences each"),
       make_key(SSGPT_MEMBER(evaluate.samples.prompts),
                TextList{.min_count = 0, .may_be_empty = true, .elements = "texts"}, kMayChange,
                "prompts that the model continues at each validation, shown in the log, TensorBoard and "
                "samples.jsonl; \"\" begins a document"),
       make_key(SSGPT_MEMBER(evaluate.samples.max_tokens), integer(1, 1 << 24), kMayChange,
                "number of new tokens per sample"),
       make_key(SSGPT_MEMBER(evaluate.samples.temperature), Number{.min = 0.0, .max = 1000.0}, kMayChange,
                "sampling temperature; 0: always the most likely token"),
       make_key(SSGPT_MEMBER(checkpoint.every), integer(0, kMaxSteps), kMayChange,
                "steps between checkpoints; 0: only after the last step"),
       make_key(SSGPT_MEMBER(checkpoint.keep_last), integer(1, 1'000'000), kMayChange,
                "number of newest checkpoints to keep"),
       make_key(SSGPT_MEMBER(checkpoint.keep_every), integer(0, kMaxSteps), kMayChange,
                "checkpoints of steps divisible by this are kept permanently; 0: none"),
       make_key(SSGPT_MEMBER(checkpoint.async), Boolean{}, kMayChange, "save checkpoints in the background"),
       make_key(SSGPT_MEMBER(checkpoint.verify), Boolean{}, kMayChange,
                "verify the checksums of checkpoints when loading them"),
       make_key(SSGPT_MEMBER(log.every), integer(1, kMaxSteps), kMayChange, "steps per line of metrics"),
       make_key(SSGPT_MEMBER(log.tensorboard), Boolean{}, kMayChange, "also write TensorBoard event files"),
       make_key(SSGPT_MEMBER(parallel.zero_stage), integer(0, 1), kMayChange,
                "1: shard the optimizer state across ranks (ZeRO-1); 0: every rank holds all of it"),
       make_key(
           SSGPT_MEMBER(parallel.bucket_mb), above_zero_to(1e6), kMayChange,
           "size in MiB of the gradient buckets reduced during backward, at most an eighth of the gradients"),
       make_key(SSGPT_MEMBER(parallel.timeout_s), Number{.min = 2.0, .max = 1e6}, kMayChange,
                "seconds after which an unresponsive rank counts as lost"),
       make_key(SSGPT_MEMBER(parallel.check_every), integer(0, kMaxSteps), kMayChange,
                "steps between checks that all ranks hold equal weights; 0: none")});
}

void add_alternatives(std::vector<Key>& keys) {
  const auto pair = [&keys](std::string_view one, std::string_view other) {
    for (Key& key : keys) {
      if (key.name == one) key.alternative = other;
      if (key.name == other) key.alternative = one;
    }
  };
  pair("train.epochs", "train.max_steps");
  pair("optimizer.schedule.warmup_epochs", "optimizer.schedule.warmup_steps");
}

std::vector<Key> make_schema() {
  std::vector<Key> keys;
  keys.push_back(make_key(SSGPT_MEMBER(run.name), Name{}, kMayChange, "name of the run in tables"));
  keys.push_back(make_key(SSGPT_MEMBER(run.seed), Integer<uint64_t>{0, std::numeric_limits<uint64_t>::max()},
                          kFixed, "random seed of the initial weights and the data order"));
  add_model(keys);
  add_data(keys);
  add_train(keys);
  add_optimizer(keys);
  add_services(keys);
  add_alternatives(keys);
  return keys;
}

std::string last_part(std::string_view name) {
  return std::string(name.substr(name.rfind('.') + 1));  // npos + 1 = 0
}
std::string parent(std::string_view name) {
  const size_t dot = name.rfind('.');
  return std::string(name.substr(0, dot == std::string_view::npos ? 0 : dot));
}

}  // namespace

const std::vector<Key>& schema() {
  static const std::vector<Key> keys = make_schema();
  return keys;
}

const Key* find_key(std::string_view name) {
  const auto found =
      std::find_if(schema().begin(), schema().end(), [&](const Key& key) { return key.name == name; });
  return found != schema().end() ? &*found : nullptr;
}

const std::vector<std::string>& sections() {
  static const std::vector<std::string> names = [] {
    std::set<std::string> unique;
    for (const Key& key : schema()) {
      for (std::string name = parent(key.name); !name.empty(); name = parent(name)) {
        unique.insert(name);
      }
    }
    return std::vector<std::string>(unique.begin(), unique.end());
  }();
  return names;
}

bool is_section(std::string_view name) {
  return std::binary_search(sections().begin(), sections().end(), name);
}

std::string expected(const Key& key) {
  return fmt::format("expected {} ({})", key.allowed, key.meaning);
}

std::string wrong_value(const Key& key, const YAML::Node& value) {
  const std::string text = mapping_text(value);
  const auto near = core::closest_match(value.IsScalar() ? value.Scalar() : "", key.choices);
  return fmt::format("{} = {}: {}{}", key.name, text, expected(key),
                     near ? "; did you mean " + *near + "?" : "");
}

std::string hint_for_unknown(std::string_view name) {
  std::vector<std::string> all(sections());
  for (const Key& key : schema()) {
    all.push_back(key.name);
  }
  const std::string section = parent(name);
  const std::string word = last_part(name);
  if (const Key* whole = find_key(section)) {
    return fmt::format("{} is set as a whole, to {}", section, whole->allowed);
  }
  std::vector<std::string> beside;
  for (const std::string& candidate : all) {
    if (parent(candidate) == section) {
      beside.push_back(last_part(candidate));
    }
  }
  const auto suggestion = [](const std::string& full) {
    return fmt::format("did you mean {}?", full);
  };
  for (const std::string& candidate : all) {  // the right key in the wrong section
    if (last_part(candidate) == word) {
      return suggestion(candidate);
    }
  }
  if (const auto near = core::closest_match(word, beside)) {
    return suggestion(section.empty() ? *near : section + "." + *near);
  }
  if (const auto near = core::closest_match(name, all)) {
    return suggestion(*near);
  }
  for (const std::string& candidate : all) {  // a misspelt key in the wrong section
    if (core::closest_match(word, std::vector{last_part(candidate)})) {
      return suggestion(candidate);
    }
  }
  return beside.empty()
             ? ""
             : fmt::format("{} holds {}", section.empty() ? "a config" : section, fmt::join(beside, ", "));
}

}  // namespace ssgpt::config
