// The specification of the model: the same function in plain ATen operations with autograd, fp64 or any other
// dtype, written from the formulas and sharing no code with src/model but the names of the parameters.
#pragma once

#include "model/gpt.h"
#include "model/parameters.h"
#include "model/support.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// The attention of one layer of the specification.
struct ReferenceAttention {
  at::Tensor
      weights;  // (B, N, T, T): row t holds what query t gives to each key, 0 to those that it does not see
  at::Tensor factors;  // (B or 1, N or 1, T or 1): what the scores of query t were multiplied by
};

class Reference {
 public:
  // Copies the parameters of `store` as leaves of this dtype. Of spec.rope_change it knows the factor of the
  // scores alone.
  Reference(const GPTSpec& spec, const ParameterStore& store, at::ScalarType dtype);

  // (B, T, V)
  at::Tensor logits(const at::Tensor& tokens) const;
  // The attention of each layer.
  std::vector<ReferenceAttention> attentions(const at::Tensor& tokens) const;
  // (B, T), 0 where the target is negative.
  at::Tensor losses(const at::Tensor& tokens, const at::Tensor& targets) const;
  // The gradient after losses(...).sum().backward(); zeros where nothing flowed.
  at::Tensor grad(const std::string& name) const;

 private:
  at::Tensor weight(const std::string& name) const { return parameters_.at(name); }
  at::Tensor norm(const at::Tensor& x, const std::string& name) const;
  at::Tensor rotate(const at::Tensor& x) const;
  // q or k of a layer, (B, N, T, H), as its scores are made of it but for the row scale.
  at::Tensor prepare(const at::Tensor& x, const std::string& norm_name, int64_t layer) const;
  // Appends to `record` what it did, where that is given.
  at::Tensor attention(const at::Tensor& x, int64_t layer, const at::Tensor& visible,
                       std::vector<ReferenceAttention>* record) const;
  at::Tensor forward(const at::Tensor& tokens, std::vector<ReferenceAttention>* record) const;
  at::Tensor row_scale(const std::string& prefix, const at::Tensor& num_keys) const;

  GPTSpec spec_;
  at::ScalarType dtype_;
  std::map<std::string, at::Tensor> parameters_;
};

// How far a model in bf16 is from the exact values, beside how far the plain model in bf16 is, over several
// draws of parameters and batches. Errors of rounding are random, and large where attention hangs between two
// keys or a sum cancels: what is compared are the medians. Gradients of s and b are a few sums each, of which
// the plain model gets some right by luck: of a tensor of a few dozen elements or fewer, the largest of the
// plain model's medians counts.
class Bfloat16Errors {
 public:
  void add(const std::string& name, const at::Tensor& ours, const at::Tensor& plain, const at::Tensor& exact);

  // Adds the logits, the losses and each gradient of models after their backward pass; tensors are on the
  // CPU.
  void add(const Reference& exact, const Reference& plain, const ParameterStore& parameters,
           const Batch& batch, const std::function<at::Tensor(const std::string& name)>& ours);

  // Expects ours to be at most twice the plain model's, which rounds every intermediate to 8 bits, and never
  // asks for less than one rounding, 2^-8.
  void expect_as_small_as_plain() const;

 private:
  struct Errors {
    std::vector<double> ours, plain;
    int64_t elements = 0;
  };
  std::map<std::string, Errors> errors_;
};

// The draws for it: seeds of the parameters, and batches of odd sizes down to one token.
struct Draw {
  uint64_t seed = 0;
  Batch batch;
};
std::vector<Draw> bfloat16_draws();

// Expects logits, losses and gradients of the model, in fp32 with random parameters, to be those of the
// specification in fp64, within rounding.
void expect_specified(const GPTSpec& spec, const Batch& batch);

}  // namespace ssgpt::model
