// The specification of the model: the same function in plain ATen operations with autograd, fp64 or any other
// dtype, written from the formulas and sharing no code with src/model but the names of the parameters.
#pragma once

#include "model/gpt.h"
#include "model/parameters.h"
#include "model/support.h"

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
  // Of each layer.
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

// How far the gradient of each parameter may be from that of `exact`, as relative_error: twice as far as that
// of `plain`, the same formulas in the model's dtype, whose roundings are as many or more, but random; and
// `least`. The gradients of s and b are a few sums each whose terms cancel, so that plain's error in one of
// these is small by luck as often as not: for a tensor of a few dozen elements or fewer, the largest of
// plain's errors counts. Both have gone backward.
std::map<std::string, double> gradient_bounds(const ParameterStore& parameters, const Reference& exact,
                                              const Reference& plain, double least);

// That logits, losses and gradients of the model, fp32 with random parameters, are those of the specification
// in fp64, within rounding.
void expect_specified(const GPTSpec& spec, const Batch& batch);

}  // namespace ssgpt::model
