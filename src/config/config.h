// One plain struct per section of the config file, with the defaults. The meaning, unit and range of each key
// are defined once, in schema.cpp, for loading, dumping and --help.
#pragma once

#include "config/attention_kind.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::config {

enum class Device { kAuto, kCpu, kCuda };
enum class Dtype { kAuto, kFloat32, kBfloat16 };
std::string_view to_string(Dtype dtype);  // "auto", "float32", "bfloat16"
enum class AttentionBackend { kAuto, kCudnn, kFlash, kEfficient };
std::string_view to_string(AttentionBackend backend);  // "auto", "cudnn", ...
enum class ScheduleKind { kConstant, kCosine, kWsd };
enum class OnNonfinite { kStop, kSkip };
enum class OnSpike { kWarn, kStop };
enum class DataFormat { kPretrain, kSft };
enum class OnLongExample { kStop, kSkip };
enum class QkNorm { kNone, kRms };
inline constexpr std::array kQkNorms = {QkNorm::kNone, QkNorm::kRms};
std::string_view to_string(QkNorm norm);  // "none", "rms"

struct RunConfig {
  std::string name = "run";
  uint64_t seed = 1;
};

// Layers, counted from 0, whose queries and keys are not rotated: a list, or every `every`-th.
struct NopeLayers {
  std::vector<int64_t> layers;  // in ascending order
  // The form that a file may use; loading a config resolves it into `layers`.
  std::optional<int64_t> every = {};
  bool operator==(const NopeLayers&) const = default;
};

// Far beyond any model, yet few enough that listing the parameters takes moments.
inline constexpr int64_t kMaxLayers = 10'000;

struct ModelConfig {
  int64_t vocab_size = 0;  // required
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t intermediate_size = 0;
  double rope_theta = 10000.0;
  double rope_fraction = 1.0;  // of the head dimension; see exact_fraction
  NopeLayers nope_layers;
  QkNorm qk_norm = QkNorm::kNone;
  double rms_norm_eps = 1e-5;
  double initializer_range = 0.02;
  AttentionConfig attention;
};

struct DataConfig {
  std::optional<std::filesystem::path> tokenizer;
  std::vector<std::string> train;       // globs; relative to the current directory
  std::vector<std::string> validation;  // globs
  int64_t sequence_length = 1024;
  bool reset_at_document = false;
  std::optional<int64_t> document_token_id;
  DataFormat format = DataFormat::kPretrain;
  OnLongExample on_long_example = OnLongExample::kStop;  // used with kSft only
};

// From the first update after step `at_step`, the model has this kind of attention.
struct SwapAttention {
  int64_t at_step = 0;
  AttentionKind kind = AttentionKind::kSsmax;
  bool operator==(const SwapAttention&) const = default;
};

struct TrainConfig {
  Device device = Device::kAuto;
  Dtype dtype = Dtype::kAuto;
  AttentionBackend attention_backend = AttentionBackend::kAuto;  // used on a GPU only
  std::optional<int64_t> epochs;  // with kSft, in place of max_steps; a new run converts it to steps
  int64_t max_steps = 0;          // required unless epochs is set
  int64_t global_batch_size = 0;
  int64_t micro_batch_size = 0;
  double clip_grad_norm = 1.0;  // 0: no clipping
  bool tune_products = true;    // used on a GPU only, and not if deterministic
  bool deterministic = false;
  std::vector<SwapAttention> swap_attention;  // in ascending order of at_step
  OnNonfinite on_nonfinite = OnNonfinite::kStop;
  OnSpike on_spike = OnSpike::kWarn;
};

// Up to step `until_step`, the schedule was one that ends at step `total_steps`.
struct EarlierSchedule {
  int64_t until_step = 0;
  int64_t total_steps = 0;
  bool operator==(const EarlierSchedule&) const = default;
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kConstant;
  std::optional<int64_t> warmup_epochs = {};  // with kSft, in place of warmup_steps; like train.epochs
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;
  double min_lr = 0.0;
  std::optional<int64_t> total_steps = {};                // nullopt: auto, see resolve_total_steps
  std::vector<EarlierSchedule> earlier_total_steps = {};  // in ascending order of until_step
};

struct OptimizerConfig {
  double lr = 6e-4;
  std::array<double, 2> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  double scale_lr_multiplier = 1.0;  // on the learning rate of s, b and p_n
  ScheduleConfig schedule;
};

struct SamplesConfig {
  std::vector<std::string> prompts;  // empty: no samples
  int64_t max_tokens = 64;
  double temperature = 0.8;  // 0: greedy
};

struct EvaluateConfig {
  int64_t every = 0;     // steps; 0: never
  int64_t batches = 20;  // of global_batch_size validation sequences each
  SamplesConfig samples;
};

struct CheckpointConfig {
  int64_t every = 0;  // steps; 0: only after the last step
  int64_t keep_last = 2;
  int64_t keep_every = 0;  // also keep steps divisible by this; 0: none
  bool async = true;
  bool verify = true;
};

struct LogConfig {
  int64_t every = 10;  // steps
  bool tensorboard = true;
};

struct ParallelConfig {
  int64_t zero_stage = 0;
  double bucket_mb = 25.0;
  double timeout_s = 600.0;
  int64_t check_every = 0;
};

struct Config {
  RunConfig run;
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  EvaluateConfig evaluate;
  CheckpointConfig checkpoint;
  LogConfig log;
  ParallelConfig parallel;
};

// Reads `path` (YAML or JSON) with its includes, then applies the overrides ("optimizer.lr=1e-3", the value
// is YAML), then validates. Throws core::InputError where a file cannot be read or parsed, and
// core::UsageError listing all faults at once: file:line, key, value, what is allowed, and for an unknown key
// the nearest known one.
Config load(const std::filesystem::path& path, const std::vector<std::string>& overrides);

// Reads a config stored with a run, as written by dump(). Throws as load() does, and core::InputError where
// it includes other files: a stored config is self-contained.
Config load_stored(const std::filesystem::path& path);

// The same from text; messages use `origin` as the file name.
Config parse(std::string_view text, std::string_view origin, const std::vector<std::string>& overrides = {});

// The config as YAML with every key; parse(dump(c)) equals c bit for bit.
std::string dump(const Config& config);

// Whether a resume may change the value of this key.
enum class ResumeRule { kMayChange, kFixed };

struct Difference {
  std::string key;     // "optimizer.lr"
  std::string before;  // as dumped
  std::string after;
  ResumeRule rule;
};

// The keys whose values differ, in dump order.
std::vector<Difference> differences(const Config& before, const Config& after);

struct KeyDescription {
  std::string name;                          // "optimizer.lr"
  std::string meaning;                       // with its unit
  std::string allowed;                       // type and range in words
  std::optional<std::string> default_value;  // as dumped; nullopt: the key is required
  ResumeRule resume;
  std::vector<std::string> words;  // values that are words, as `auto` or an enumerator; empty for most keys
  bool takes_path;                 // whether the value names files
};

// Every key, in dump order.
std::vector<KeyDescription> key_descriptions();

// The same as text, for `ssgpt train --help` and `ssgpt keys`.
std::string describe_keys();

// hidden_size / num_attention_heads.
int64_t head_dim(const ModelConfig& model);

// R, the number of leading dimensions of each head that are rotated: rope_fraction times head_dim, if that is
// an even number of at least 2 up to the rounding of a decimal fraction; otherwise nullopt.
std::optional<int64_t> rotated_dims(double rope_fraction, int64_t head_dim);

// The same for a valid config.
int64_t rotated_dims(const ModelConfig& model);

// R / head_dim for the R that `rope_fraction` stands for, so that 0.333333 of 24 becomes one third: a double
// whose product with head_dim is at least R, since transformers computes R as int(head_dim * fraction).
// Returns the fraction unchanged where it stands for no R. Loading a config applies this.
double exact_fraction(double rope_fraction, int64_t head_dim);

// Whether queries and keys of this layer, counted from 0, are rotated.
bool is_rotated(const ModelConfig& model, int64_t layer);

// Whether any layer is rotated.
bool has_rope(const ModelConfig& model);

// The layers of `nope` in a model of num_layers: K - 1, 2 K - 1, ... for `every` = K, as Hugging Face's
// no_rope_layer_interval counts; otherwise its list.
std::vector<int64_t> resolved_layers(const NopeLayers& nope, int64_t num_layers);

// Inserts a swap into train.swap_attention, ordered by at_step. It replaces one at the same step; swaps that
// no longer change anything are removed.
void add_swap(Config& config, const SwapAttention& swap);

// Kind of attention during update number `update` (the first is 1): that of the last swap before it, else
// model.attention.kind.
AttentionKind attention_kind(const Config& config, int64_t update);

// Whether `predicate` is true for the kind of any update.
bool any_kind(const Config& config, const std::function<bool(AttentionKind)>& predicate);

// Whether the schedule ends at optimizer.schedule.total_steps: wsd, and cosine without decay_steps.
bool ends_at_total_steps(const ScheduleConfig& schedule);

// Sets optimizer.schedule.total_steps, where it is auto and the schedule ends there, to train.max_steps. A
// run stores the resolved value, so that changing train.max_steps at a resume leaves the learning rates as
// they were.
void resolve_total_steps(Config& config);

// Gradient accumulation steps, the micro-batches per step on each rank: global_batch_size / (micro_batch_size
// * num_ranks). Where that is not an integer, throws core::UsageError naming values that work.
int64_t accumulation_steps(const TrainConfig& train, int64_t num_ranks);

// Why a GPU cannot compute this config's attention with `backend`, which must not be auto: "on a GPU it needs
// train.dtype = bfloat16, and ...", naming every setting in the way; nullopt where it can.
std::optional<std::string> obstacle(AttentionBackend backend, const Config& config);

}  // namespace ssgpt::config
