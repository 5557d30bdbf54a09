// The decoder-only transformer: embedding, blocks, final norm, head with cross-entropy; explicit forward and
// backward. Llama's mathematics (RMSNorm, RoPE, SwiGLU, no biases, separate embeddings) with a row scale on
// the query; RMSNorm of q and k as in Qwen 3, and RoPE on a part of each head or of the layers, where asked
// for. Knows nothing of files, optimizers and ranks. Shapes: B batch, T time, D hidden, N heads, H head
// dim, F feed-forward, V vocabulary.
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

// What defines the function that the model computes.
struct GPTSpec {
  config::ModelConfig config;
  int64_t sequence_length = 0;  // longest window; the size of RoPE's tables and of learned p_n
  std::optional<int64_t>
      document_token_id;        // set: attention does not cross the end of a document, which this id marks
  RopeChange rope_change = {};  // of an evaluation; no checkpoint has one
  std::optional<int64_t> trained_length = {};  // set by an evaluation, whose windows may be longer than those
                                               // of training; otherwise sequence_length
};

// Of the row scale, whose T is the trained length.
config::PositionConstants position_constants(const GPTSpec& spec);

// Where and in which precision it is computed.
struct Execution {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;                                                // kFloat or kBFloat16
  kernels::AttentionBackend attention_backend = kernels::AttentionBackend::kFlash;  // read on a GPU
  int64_t flat_alignment = 1;  // divides the size of the flat tensors, so that they can be shared out
  bool for_training = true;    // false: there is no flat gradient, and forward_backward must not be called
};

// Of each token of a batch, on the model's device.
struct TokenScores {
  at::Tensor losses;   // fp32 (B, T): the cross-entropy in nats, 0 where the target is negative
  at::Tensor correct;  // bool (B, T): the target's logit, in the compute dtype, is strictly larger than every
                       // other; false where the target is negative or a logit is NaN
};

// Told during a forward of the attention of each layer, from the first to the last.
using AttentionOfLayer = std::function<void(int64_t layer, const AttentionStatistics& statistics)>;

// Told during backward that the flat gradient will not change any more from element `offset` to its end.
// Offsets fall; the last is 0.
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

  // One micro-batch of training. tokens, targets: int64 (B, T) on the CPU whatever the model's device,
  // T <= sequence_length; a negative target is not predicted. Adds the sum over tokens of the cross-entropy
  // (nats) to loss_sum, fp64 of one element on the device, and the gradient of that sum to the flat gradient;
  // with kOverwrite the flat gradient becomes that of this micro-batch, whatever it held before.
  // `gradient_final`, where given, is called as layers finish; loss_sum is complete by then. `num_keys`:
  // int32 (B, T) on the CPU, the n keys that each query attends to, its own and those before it
  // (kernels::Spans), where a row holds texts that do not see each other; undefined: as the spec says, the
  // whole window or its documents.
  void forward_backward(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& loss_sum,
                        const GradientFinal& gradient_final = nullptr,
                        const at::Tensor& num_keys = at::Tensor(), GradientMode mode = GradientMode::kAdd);

  // Cross-entropy of each token, fp32 (B, T) on the model's device, 0 where the target is negative. Changes
  // no gradient.
  at::Tensor token_losses(const at::Tensor& tokens, const at::Tensor& targets,
                          const at::Tensor& num_keys = at::Tensor());

  // The same losses, bit for bit, and which targets the model would have chosen. A tie counts as wrong, so a
  // model whose logits are all equal is right nowhere.
  TokenScores token_scores(const at::Tensor& tokens, const at::Tensor& targets);

  // What the attention of each layer does in the forward of these tokens, int64 (B, T) on the CPU.
  // block_queries: see fill_attention_statistics; 0 where it does not matter. The tensors are the caller's,
  // but for num_keys, which the next batch may overwrite. What `on_layer` throws ends the forward.
  void attention_statistics(const at::Tensor& tokens, const AttentionOfLayer& on_layer,
                            int64_t block_queries = 0);

  // Logits, fp32 (B, T, V) on the model's device.
  at::Tensor logits(const at::Tensor& tokens);

  // Mean of s over the heads of each layer; empty where the kind has no s. Reads from the device.
  std::vector<double> mean_attention_scales() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::model
