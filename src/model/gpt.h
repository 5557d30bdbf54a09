// Decoder-only transformer: embedding, blocks, final norm, head with cross-entropy; explicit forward and
// backward. Llama's mathematics (RMSNorm, RoPE, SwiGLU, no biases, untied embeddings) with a row scale on the
// query; optionally RMSNorm of q and k as in Qwen 3, and RoPE on part of each head or of the layers. Knows
// nothing of files, optimizers and ranks. Shapes: B batch, T time, D hidden, N heads, H head dim, F
// feed-forward, V vocabulary.
#pragma once

#include "config/config.h"
#include "kernels/ops.h"
#include "model/attention_statistics.h"
#include "model/linear.h"
#include "model/parameters.h"
#include "model/rope.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Everything that defines the function computed by the model.
struct GPTSpec {
  config::ModelConfig config;
  int64_t sequence_length = 0;  // longest window; size of the RoPE tables and of learned p_n
  // If set: document masking; this token id marks the end of a document.
  std::optional<int64_t> document_token_id;
  RopeChange rope_change = {};                 // set by an evaluation; never part of a checkpoint
  std::optional<int64_t> trained_length = {};  // set by an evaluation, whose windows may be longer than those
                                               // of training; otherwise sequence_length
};

// Constants of the row scale, whose T is the trained length.
config::PositionConstants position_constants(const GPTSpec& spec);

// Where and in which precision the model is computed.
struct Execution {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;                                                // kFloat or kBFloat16
  kernels::AttentionBackend attention_backend = kernels::AttentionBackend::kFlash;  // used on a GPU
  int64_t flat_alignment = 1;  // divides the size of the flat tensors, so that they can be sharded
  bool for_training = true;    // false: no flat gradient; forward_backward must not be called
};

// Per token of a batch, on the model's device.
struct TokenScores {
  at::Tensor losses;   // fp32 (B, T): cross-entropy in nats, 0 where the target is negative
  at::Tensor correct;  // bool (B, T): the target's logit, in the compute dtype, is strictly larger than every
                       // other; false where the target is negative or a logit is NaN
};

// Called during a forward with the attention statistics of each layer, from the first to the last.
using AttentionOfLayer = std::function<void(int64_t layer, const AttentionStatistics& statistics)>;

// Called during backward once the flat gradient is final from element `offset` to its end. Offsets decrease;
// the last is 0.
using GradientFinal = std::function<void(int64_t offset)>;

// The parameters of a model in the order of the flat tensor, with Llama's names (interface: README
// "Checkpoints").
std::vector<ParameterSpec> parameter_specs(const config::ModelConfig& config, int64_t sequence_length);

class GPT {
 public:
  GPT(const GPTSpec& spec, const Execution& execution);
  ~GPT();
  GPT(const GPT&) = delete;
  GPT& operator=(const GPT&) = delete;

  const GPTSpec& spec() const;
  const Execution& execution() const;
  ParameterStore& parameters();
  const ParameterStore& parameters() const;

  // One micro-batch of training. tokens, targets: int64 (B, T) on the CPU whatever the model's device, T <=
  // sequence_length; a negative target is not predicted. Adds the sum over tokens of the cross-entropy (nats)
  // to loss_sum, one fp64 element on the device, and the gradient of that sum to the flat gradient (gradient
  // accumulation); with kOverwrite the flat gradient becomes that of this micro-batch, whatever it held
  // before. `gradient_final`, if given, is called as layers finish; loss_sum is complete by then. `num_keys`:
  // int32 (B, T) on the CPU, the number of keys n that each query attends to, up to its own (kernels::Spans),
  // if a row holds texts that do not attend to each other; undefined: as the spec says, the whole window or
  // its documents.
  void forward_backward(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& loss_sum,
                        const GradientFinal& gradient_final = nullptr,
                        const at::Tensor& num_keys = at::Tensor(), GradientMode mode = GradientMode::kAdd);

  // Cross-entropy of each token, fp32 (B, T) on the model's device, 0 where the target is negative. Leaves
  // the gradient unchanged.
  at::Tensor token_losses(const at::Tensor& tokens, const at::Tensor& targets,
                          const at::Tensor& num_keys = at::Tensor());

  // The same losses, bit for bit, and which targets the model ranks first. A tie counts as wrong, so a model
  // whose logits are all equal is never right.
  TokenScores token_scores(const at::Tensor& tokens, const at::Tensor& targets);

  // Attention statistics of each layer in the forward of these tokens, int64 (B, T) on the CPU.
  // block_queries: see fill_attention_statistics; 0 if it does not matter. `on_layer` may keep the tensors,
  // except num_keys, which the next batch may overwrite. An exception from `on_layer` ends the forward.
  void attention_statistics(const at::Tensor& tokens, const AttentionOfLayer& on_layer,
                            int64_t block_queries = 0);

  // Logits, fp32 (B, T, V) on the model's device.
  at::Tensor logits(const at::Tensor& tokens);

  // Mean of s over the heads, per layer; empty if the kind has no s. Copies from the device.
  std::vector<double> mean_attention_scales() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::model
