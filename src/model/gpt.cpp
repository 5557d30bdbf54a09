#include "model/gpt.h"

#include "core/check.h"
#include "core/range.h"
#include "kernels/ops.h"
#include "model/block_weights.h"
#include "model/buffers.h"
#include "model/head.h"
#include "model/inputs.h"
#include "model/work.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/_foreach_zero.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mean.h>
#include <fmt/format.h>

namespace ssgpt::model {
namespace {

// Specs including the padding after lm_head.weight, the last parameter.
std::vector<ParameterSpec> specs_in_memory(const GPTSpec& spec, at::Device device) {
  std::vector<ParameterSpec> specs = parameter_specs(spec.config, spec.sequence_length);
  specs.back().row_multiple = vocabulary_multiple(device);
  return specs;
}

// Returns views of the parts of a flat tensor not covered by `parts`, which are disjoint views of it.
std::vector<at::Tensor> complement_of(const at::Tensor& flat, const std::vector<at::Tensor>& parts) {
  std::vector<core::Range> taken;
  for (const at::Tensor& part : parts) {
    const int64_t begin = part.storage_offset() - flat.storage_offset();
    taken.push_back({.begin = begin, .end = begin + part.numel()});
  }
  std::sort(taken.begin(), taken.end(),
            [](const core::Range& a, const core::Range& b) { return a.begin < b.begin; });
  taken.push_back({.begin = flat.numel(), .end = flat.numel()});
  std::vector<at::Tensor> rest;
  int64_t end = 0;  // of the previous part
  for (const core::Range& range : taken) {
    if (range.begin > end) rest.push_back(flat.narrow(0, end, range.begin - end));
    end = range.end;
  }
  return rest;
}

}  // namespace

struct GPT::Impl {
  Impl(const GPTSpec& gpt_spec, const Execution& gpt_execution);

  // Moves the batch to the device and allocates buffers for it. targets and num_keys may be undefined.
  Inputs prepare(const at::Tensor& tokens, const at::Tensor& targets, bool with_backward,
                 const at::Tensor& num_keys = at::Tensor());
  // Runs all blocks and the final norm; the result is buffers.final_norm.output (M, D). `after_block` is
  // called while the layer's activations are still valid.
  void forward(const at::Tensor& tokens, const std::function<void(size_t layer)>& after_block = nullptr);
  // Zeroes the gradients that accumulate even in overwrite mode: all but those of matrices.
  void zero_sums();
  void backward(const at::Tensor& tokens, const GradientFinal& gradient_final, GradientMode mode);
  BlockActivations& activations(size_t layer) {
    return buffers.blocks[buffers.blocks.size() == 1 ? 0 : layer];
  }

  const GPTSpec spec;
  const Execution execution;
  ParameterStore store;
  std::vector<BlockWeights> weights;
  std::vector<BlockGradients> gradients;
  at::Tensor position_table;                // see make_position_table
  kernels::Rotation rotation, no_rotation;  // sequence_length rows; see AttentionContext
  at::Tensor head, d_head;                  // data and fp32 (padded V, D): views
  std::vector<at::Tensor> gradient_sums;    // views of the flat gradient that zero_sums() zeroes
  InputStager inputs;
  BlockContext context;  // of the current batch
  Buffers buffers;
};

GPT::Impl::Impl(const GPTSpec& gpt_spec, const Execution& gpt_execution)
    : spec(gpt_spec),
      execution(gpt_execution),
      store(specs_in_memory(spec, execution.device), execution.device, execution.dtype,
            execution.flat_alignment, /*with_gradient=*/execution.for_training),
      inputs(execution.device, spec.document_token_id) {
  const config::ModelConfig& config = spec.config;
  const auto rotation_of = [&](int64_t rotated_dims) {
    return make_rotation(spec.sequence_length, rotated_dims, config.rope_theta, execution.device,
                         spec.rope_change);
  };
  rotation = rotation_of(config::rotated_dims(config));
  no_rotation = rotation_of(0);
  position_table = make_position_table(config.attention.kind, position_constants(spec), spec.sequence_length,
                                       execution.device);
  context.norm_eps = config.rms_norm_eps;
  context.attention.num_heads = config.num_attention_heads;
  context.attention.backend = execution.attention_backend;
  head = store.padded(store.flat_compute(), "lm_head.weight");
  if (execution.for_training) d_head = store.padded(store.flat_grad(), "lm_head.weight");
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    weights.push_back(bind_block_weights(store, config, layer, position_table));
    if (execution.for_training) gradients.push_back(bind_block_gradients(store, config, layer));
  }
  if (!execution.for_training) return;
  std::vector<at::Tensor> products = {d_head};
  for (const BlockGradients& block : gradients) {
    for (const at::Tensor& product :
         {block.attention.qkv, block.attention.out, block.mlp.gate_up, block.mlp.down}) {
      products.push_back(product);
    }
  }
  gradient_sums = complement_of(store.flat_grad(), products);
}

Inputs GPT::Impl::prepare(const at::Tensor& tokens, const at::Tensor& targets, bool with_backward,
                          const at::Tensor& num_keys) {
  const Inputs staged = inputs.stage(tokens, targets, num_keys);
  const int64_t batch = tokens.size(0);
  const int64_t time = tokens.size(1);
  SSGPT_CHECK(time <= spec.sequence_length, "windows of {} tokens, expected up to {}", time,
              spec.sequence_length);
  AttentionContext& attention = context.attention;
  attention.batch = batch;
  attention.time = time;
  attention.rotation = rotation.rows(0, time);
  attention.no_rotation = no_rotation.rows(0, time);
  attention.spans = staged.spans;

  const bool fits = buffers.shape.batch == batch && buffers.shape.time == time &&
                    (buffers.shape.with_backward || !with_backward);
  if (!fits) {
    buffers = Buffers();
    buffers = allocate_buffers({batch, time, with_backward}, spec.config, spec.sequence_length,
                               execution.device, execution.dtype);
  }
  return staged;
}

void GPT::Impl::forward(const at::Tensor& tokens, const std::function<void(size_t layer)>& after_block) {
  const core::ProfileScope phase("forward");
  {
    const at::Tensor embedded = activations(0).attention_norm.input;
    const core::ProfileScope scope("embedding", traffic(embedded, embedded));
    kernels::embedding_forward(tokens.view({-1}), store.compute("model.embed_tokens.weight"), embedded);
  }
  at::Tensor residual;  // undefined: the embedding is already where the first block reads it
  for (size_t layer = 0; layer < weights.size(); ++layer) {
    block_forward(residual, weights[layer], context, activations(layer), buffers.scratch);
    if (after_block) after_block(layer);
    residual = activations(layer).mlp_norm.input;
  }
  norm_forward(residual, buffers.scratch.branch, store.compute("model.norm.weight"), context.norm_eps,
               buffers.final_norm);
}

void GPT::Impl::zero_sums() {
  double bytes = 0.0;
  for (const at::Tensor& sum : gradient_sums) bytes += static_cast<double>(sum.nbytes());
  const core::ProfileScope scope("zero the gradient", {.flops = 0.0, .bytes = bytes});
  at::_foreach_zero_(gradient_sums);
}

// Starts from the gradient of the final norm's output in scratch.d_normed, with the head's own gradient done.
// The gradient becomes final from the end of the flat tensor to its start, as ordered by parameter_specs.
void GPT::Impl::backward(const at::Tensor& tokens, const GradientFinal& gradient_final, GradientMode mode) {
  const core::ProfileScope phase("backward");
  const auto final_from = [&](const std::string& name) {
    if (gradient_final) gradient_final(store.find(name).offset);
  };
  final_from("lm_head.weight");
  const at::Tensor norm_sums = buffers.scratch.mlp_norm_sums;
  norm_backward(buffers.scratch.d_normed, store.compute("model.norm.weight"), buffers.final_norm,
                /*accumulate=*/false, buffers.d_residual, norm_sums);
  kernels::add_row_sums({{.of_chunks = norm_sums, .total = store.grad("model.norm.weight")}});
  final_from("model.norm.weight");
  for (size_t layer = weights.size(); layer-- > 0;) {
    block_backward(buffers.d_residual, weights[layer], context, activations(layer), gradients[layer], mode,
                   buffers.scratch);
    final_from(fmt::format("model.layers.{}.input_layernorm.weight", layer));
  }
  {
    const core::ProfileScope scope("embedding",
                                   traffic(buffers.d_residual, buffers.d_residual, buffers.d_residual));
    kernels::embedding_backward(tokens.view({-1}), buffers.d_residual,
                                store.grad("model.embed_tokens.weight"));
  }
  if (gradient_final) gradient_final(0);
}

GPT::GPT(const GPTSpec& spec, const Execution& execution) : impl_(std::make_unique<Impl>(spec, execution)) {}
GPT::~GPT() = default;

config::PositionConstants position_constants(const GPTSpec& spec) {
  return config::position_constants(spec.config.attention,
                                    spec.trained_length.value_or(spec.sequence_length));
}

const GPTSpec& GPT::spec() const {
  return impl_->spec;
}
const Execution& GPT::execution() const {
  return impl_->execution;
}
ParameterStore& GPT::parameters() {
  return impl_->store;
}
const ParameterStore& GPT::parameters() const {
  return impl_->store;
}

void GPT::forward_backward(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& loss_sum,
                           const GradientFinal& gradient_final, const at::Tensor& num_keys,
                           GradientMode mode) {
  Impl& impl = *impl_;
  SSGPT_CHECK(targets.defined(), "there are no targets");
  SSGPT_CHECK(impl.execution.for_training, "this model has no gradient");
  const Inputs inputs = impl.prepare(tokens, targets, /*with_backward=*/true, num_keys);
  if (mode == GradientMode::kOverwrite) impl.zero_sums();
  impl.forward(inputs.tokens);
  Buffers& buffers = impl.buffers;
  {
    const core::ProfileScope phase("head");
    head_forward_backward(buffers.final_norm.output, inputs.targets.view({-1}), impl.head,
                          impl.spec.config.vocab_size, buffers.losses, /*d_x=*/buffers.scratch.d_normed,
                          impl.d_head, mode, buffers.logits, buffers.scratch.mlp.weight);
    loss_sum.add_(kernels::flat_sum(buffers.losses));
  }
  impl.backward(inputs.tokens, gradient_final, mode);
}

at::Tensor GPT::token_losses(const at::Tensor& tokens, const at::Tensor& targets,
                             const at::Tensor& num_keys) {
  Impl& impl = *impl_;
  SSGPT_CHECK(targets.defined(), "there are no targets");
  const Inputs inputs = impl.prepare(tokens, targets, /*with_backward=*/false, num_keys);
  impl.forward(inputs.tokens);
  const at::Tensor losses = at::empty(tokens.sizes(), impl.buffers.losses.options());
  head_forward(impl.buffers.final_norm.output, inputs.targets.view({-1}), impl.head,
               impl.spec.config.vocab_size, losses.view({-1}), impl.buffers.logits);
  return losses;
}

TokenScores GPT::token_scores(const at::Tensor& tokens, const at::Tensor& targets) {
  Impl& impl = *impl_;
  SSGPT_CHECK(targets.defined(), "there are no targets");
  const Inputs inputs = impl.prepare(tokens, targets, /*with_backward=*/false);
  impl.forward(inputs.tokens);
  const at::TensorOptions options = impl.buffers.losses.options();
  const TokenScores scores = {.losses = at::empty(tokens.sizes(), options),
                              .correct = at::empty(tokens.sizes(), options.dtype(at::kBool))};
  head_scores(impl.buffers.final_norm.output, inputs.targets.view({-1}), impl.head,
              impl.spec.config.vocab_size, scores.losses.view({-1}), scores.correct.view({-1}),
              impl.buffers.logits);
  return scores;
}

void GPT::attention_statistics(const at::Tensor& tokens, const AttentionOfLayer& on_layer,
                               int64_t block_queries) {
  Impl& impl = *impl_;
  const Inputs inputs = impl.prepare(tokens, /*targets=*/at::Tensor(), /*with_backward=*/false);
  const AttentionContext& context = impl.context.attention;
  const int64_t heads = context.num_heads;
  // Computed once per number of keys, then indexed per query.
  const at::Tensor& num_keys = inputs.spans.num_keys;
  const at::Tensor every_n = at::arange(1, context.time + 1, num_keys.options());
  const at::Tensor rows = num_keys.view({-1}).to(at::kLong) - 1;
  impl.forward(inputs.tokens, [&](size_t layer) {
    const at::Tensor qkv = impl.activations(layer).attention.qkv;
    AttentionStatistics statistics;
    fill_attention_statistics(qkv.view({context.batch, context.time, 3, heads, -1}), num_keys, block_queries,
                              statistics);
    const AttentionWeights& weights = impl.weights[layer].attention;
    const kernels::Rotation& rotation = weights.is_rotated ? impl.rotation : impl.no_rotation;
    statistics.factor = score_factors(weights.row_scale, rotation, heads, qkv.size(1) / (3 * heads), every_n)
                            .index_select(1, rows)
                            .view({heads, context.batch, context.time})
                            .transpose(0, 1)
                            .contiguous();
    on_layer(static_cast<int64_t>(layer), statistics);
  });
}

at::Tensor GPT::logits(const at::Tensor& tokens) {
  Impl& impl = *impl_;
  const Inputs inputs = impl.prepare(tokens, /*targets=*/at::Tensor(), /*with_backward=*/false);
  impl.forward(inputs.tokens);
  const at::Tensor logits = at::empty({tokens.numel(), impl.head.size(0)}, impl.head.options());
  linear_forward(impl.buffers.final_norm.output, impl.head, logits);
  const int64_t vocab_size = impl.spec.config.vocab_size;
  return logits.narrow(1, 0, vocab_size)
      .to(at::kFloat)
      .contiguous()
      .view({tokens.size(0), tokens.size(1), vocab_size});
}

std::vector<double> GPT::mean_attention_scales() const {
  std::vector<double> means;
  for (const BlockWeights& weight : impl_->weights) {
    const at::Tensor& scale = weight.attention.row_scale.scale;
    if (scale.defined()) means.push_back(at::mean(scale, at::kDouble).item<double>());
  }
  return means;
}

}  // namespace ssgpt::model
