// All parameters in one flat fp32 tensor, their gradients in a second one at the same offsets and, for
// compute dtype bf16, a bf16 copy at the same offsets. Named parameters are views. Knows nothing of layers
// and optimizers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Initial values of a parameter. Value i of parameter `name` is a pure function of (seed, name, i).
struct Initializer {
  enum class Kind { kNormal, kConstant, kLogPosition };  // kLogPosition: value i is log(i + 1)
  Kind kind = Kind::kConstant;
  double value = 0.0;  // standard deviation of kNormal, value of kConstant
};

struct ParameterSpec {
  std::string name;  // Hugging Face's Llama name
  std::vector<int64_t> shape;
  Initializer initializer;
  // Starts where the previous one ends, so that merged() can view both as one matrix.
  bool adjoins_previous = false;
  bool of_row_scale = false;  // s, b or p_n
  int64_t row_multiple = 1;   // matrix: padded with zero rows to a multiple of this, for padded()
};

struct Parameter {
  ParameterSpec spec;
  int64_t offset = 0;  // in elements from the start of the flat tensors; a multiple of 32 (128 bytes of fp32)
                       // unless spec.adjoins_previous
  int64_t numel = 0;
};

// Product of the dimensions. Throws core::InternalError if one is not positive.
int64_t numel(const ParameterSpec& spec);
// Likewise, including the padding rows.
int64_t padded_numel(const ParameterSpec& spec);

// Position of each parameter in a flat tensor.
struct Layout {
  std::vector<Parameter> parameters;  // in the order of the specs
  int64_t size = 0;                   // elements of the flat tensor, including padding
};
Layout lay_out(const std::vector<ParameterSpec>& specs);

// Writes the initial values of `parameter` to the parameter.numel elements at `values`.
void fill_initial(float* values, const Parameter& parameter, uint64_t seed);

class ParameterStore {
 public:
  // Lays the parameters out in the given order and allocates them as zeros. compute_dtype: kFloat or
  // kBFloat16. The flat size is rounded up to a multiple of flat_alignment. Without a gradient, flat_grad()
  // is undefined, and grad() must not be called.
  ParameterStore(const std::vector<ParameterSpec>& specs, at::Device device, at::ScalarType compute_dtype,
                 int64_t flat_alignment = 1, bool with_gradient = true);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Parameter& find(std::string_view name) const;  // throws core::InternalError if there is none
  bool contains(std::string_view name) const;
  int64_t num_parameters() const;  // without alignment padding

  at::Tensor flat_master() const { return master_; }  // fp32 (flat_size)
  at::Tensor flat_grad() const { return grad_; }      // fp32 (flat_size); padding stays zero
  // Compute dtype (flat_size); in fp32 the master itself.
  at::Tensor flat_compute() const { return compute_; }

  // Views of parameter `name` in its own shape.
  at::Tensor master(std::string_view name) const;
  at::Tensor grad(std::string_view name) const;
  at::Tensor compute(std::string_view name) const;

  // View of `parameter` in a flat tensor of this layout (a moment, a snapshot).
  static at::Tensor view_of(const at::Tensor& flat, const Parameter& parameter);

  // View of adjacent rank-2 parameters (equal columns) as one matrix: q, k, v; gate, up. Throws
  // core::InternalError if they are not adjacent.
  at::Tensor merged(const at::Tensor& flat, const std::vector<std::string>& names) const;

  // View of a matrix including its zero padding rows, which no update and no gradient changes.
  at::Tensor padded(const at::Tensor& flat, std::string_view name) const;

  void initialize(uint64_t seed);
  // Rounds the master into the bf16 copy; does nothing in fp32. Call after changing the master.
  void refresh_compute();

 private:
  std::vector<Parameter> parameters_;
  std::unordered_map<std::string, size_t> index_;
  at::Tensor master_;
  at::Tensor grad_;
  at::Tensor compute_;
};

}  // namespace ssgpt::model
