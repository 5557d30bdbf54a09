// One plain struct for each section of the config file, with the defaults. The meaning, unit and range of
// each key stand in schema.cpp, once, for loading, dumping and --help.
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

// The layers whose queries and keys are not rotated, counted from 0: those of a list, or every `every`-th.
struct NopeLayers {
  std::vector<int64_t> layers;  // rising
  // As a file may say it; a config that was read has `layers` in its place.
  std::optional<int64_t> every = {};
  bool operator==(const NopeLayers&) const = default;
};

// Far beyond any model, and so few that listing their parameters takes moments.
inline constexpr int64_t kMaxLayers = 10'000;

struct ModelConfig {
  int64_t vocab_size = 0;  // required
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t intermediate_size = 0;
  double rope_theta = 10000.0;
  double rope_fraction = 1.0;  // of the dimensions of a head; see exact_fraction
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
  OnLongExample on_long_example = OnLongExample::kStop;  // of kSft
};

// From the first update after step `at_step` on the model has this kind of attention.
struct SwapAttention {
  int64_t at_step = 0;
  AttentionKind kind = AttentionKind::kSsmax;
  bool operator==(const SwapAttention&) const = default;
};

struct TrainConfig {
  Device device = Device::kAuto;
  Dtype dtype = Dtype::kAuto;
  AttentionBackend attention_backend = AttentionBackend::kAuto;  // read on a GPU alone
  std::optional<int64_t> epochs;  // of kSft, in place of max_steps; a run that begins counts them in steps
  int64_t max_steps = 0;          // required without epochs
  int64_t global_batch_size = 0;
  int64_t micro_batch_size = 0;
  double clip_grad_norm = 1.0;  // 0: no clipping
  bool tune_products = true;    // read on a GPU alone, and not where deterministic
  bool deterministic = false;
  std::vector<SwapAttention> swap_attention;  // at rising steps
  OnNonfinite on_nonfinite = OnNonfinite::kStop;
  OnSpike on_spike = OnSpike::kWarn;
};

// Up to step `until_step` the schedule was one that ends at step `total_steps`.
struct EarlierSchedule {
  int64_t until_step = 0;
  int64_t total_steps = 0;
  bool operator==(const EarlierSchedule&) const = default;
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kConstant;
  std::optional<int64_t> warmup_epochs = {};  // of kSft, in place of warmup_steps; as train.epochs
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;
  double min_lr = 0.0;
  std::optional<int64_t> total_steps = {};                // none: auto; see resolve_total_steps
  std::vector<EarlierSchedule> earlier_total_steps = {};  // at rising steps
};

struct OptimizerConfig {
  double lr = 6e-4;
  std::array<double, 2> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.1;
  double scale_lr_multiplier = 1.0;  // of the learning rate of s, b and p_n
  ScheduleConfig schedule;
};

struct SamplesConfig {
  std::vector<std::string> prompts;  // none: no samples
  int64_t max_tokens = 64;
  double temperature = 0.8;  // 0: the likeliest tokens
};

struct EvaluateConfig {
  int64_t every = 0;     // steps; 0: never
  int64_t batches = 20;  // of global_batch_size validation windows each
  SamplesConfig samples;
};

struct CheckpointConfig {
  int64_t every = 0;  // steps; 0: only at the end
  int64_t keep_last = 2;
  int64_t keep_every = 0;  // also keep each step divisible by this; 0: none
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
// is YAML), then validates. Throws core::InputError where the file cannot be read or parsed, and
// core::UsageError that lists all faults at once: file:line, key, value, what is allowed, and the nearest key
// for one that is unknown.
Config load(const std::filesystem::path& path, const std::vector<std::string>& overrides);

// A config that was stored with a run, as dump() wrote it. Throws as load() does, and core::InputError where
// it names other files (`include`): what a run was trained by stands in it alone.
Config load_stored(const std::filesystem::path& path);

// The same from text; `origin` stands for the file's name in messages.
Config parse(std::string_view text, std::string_view origin, const std::vector<std::string>& overrides = {});

// YAML with every key; parse(dump(c)) equals c bit for bit.
std::string dump(const Config& config);

// Whether a resumed run may have another value of this key than the run had.
enum class ResumeRule { kMayChange, kFixed };

struct Difference {
  std::string key;     // "optimizer.lr"
  std::string before;  // as dumped
  std::string after;
  ResumeRule rule;
};

// The keys whose values differ, in the order of the dump.
std::vector<Difference> differences(const Config& before, const Config& after);

struct KeyDescription {
  std::string name;                          // "optimizer.lr"
  std::string meaning;                       // with its unit
  std::string allowed;                       // type and range in words
  std::optional<std::string> default_value;  // as dumped; none: the key is required
  ResumeRule resume;
};

// Every key, in the order of the dump.
std::vector<KeyDescription> key_descriptions();

// The same as text, for `ssgpt train --help` and `ssgpt keys`.
std::string describe_keys();

// hidden_size / num_attention_heads.
int64_t head_dim(const ModelConfig& model);

// R, the dimensions of each head that are rotated, the first ones: rope_fraction of the head dimension, where
// that is an even number of 2 or more, within what a fraction written in decimals may be off; otherwise none.
std::optional<int64_t> rotated_dims(double rope_fraction, int64_t head_dim);

// The same of a config that holds its rules.
int64_t rotated_dims(const ModelConfig& model);

// R / head_dim for the R that `rope_fraction` stands for, so that 0.333333 of 24 becomes a third: a double
// whose product with head_dim is R or more, as transformers takes R to be int(head_dim * fraction). The
// fraction itself where it stands for no R. A config that was read holds this one.
double exact_fraction(double rope_fraction, int64_t head_dim);

// Whether queries and keys of this layer, from 0, are rotated.
bool is_rotated(const ModelConfig& model, int64_t layer);

// Whether those of any layer are.
bool has_rope(const ModelConfig& model);

// The layers that `nope` stands for among so many: K - 1, 2 K - 1, ... for `every` K, as Hugging Face's
// no_rope_layer_interval counts; or its list.
std::vector<int64_t> resolved_layers(const NopeLayers& nope, int64_t num_layers);

// Adds a swap to train.swap_attention, in its place by at_step. One at the same step gives way to it, and so
// do those that change nothing any more.
void add_swap(Config& config, const SwapAttention& swap);

// The attention's kind in update number `update` (1 for the first): that of the last swap before it, else
// model.attention.kind.
AttentionKind attention_kind(const Config& config, int64_t update);

// Whether `says` is true of the kind of any update.
bool any_kind(const Config& config, const std::function<bool(AttentionKind)>& says);

// Whether the schedule ends at optimizer.schedule.total_steps: wsd, and cosine without decay_steps.
bool ends_at_total_steps(const ScheduleConfig& schedule);

// Sets optimizer.schedule.total_steps, where it is auto and the schedule ends there, to what it stands for:
// train.max_steps. A run stores it so, and another train.max_steps at a resume leaves the rates as they were.
void resolve_total_steps(Config& config);

// Micro-batches in a step of each rank: global_batch_size / (micro_batch_size * num_ranks). Throws
// core::UsageError, naming numbers that would, where that does not divide.
int64_t accumulation_steps(const TrainConfig& train, int64_t num_ranks);

// Why a GPU cannot compute this config's attention with `backend`, which is not auto: "needs train.dtype =
// bfloat16", naming every other key in the way; none where it can.
std::optional<std::string> obstacle(AttentionBackend backend, const Config& config);

}  // namespace ssgpt::config
