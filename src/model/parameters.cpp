#include "model/parameters.h"

#include "core/check.h"
#include "core/random.h"
#include "core/round_up.h"
#include "device/large_pages.h"

#include <cmath>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::model {
namespace {

constexpr int64_t kAlignment = 32;

}  // namespace

int64_t numel(const ParameterSpec& spec) {
  int64_t total = 1;
  for (const int64_t size : spec.shape) {
    SSGPT_CHECK(size > 0, "{} has a dimension of {}", spec.name, size);
    total *= size;
  }
  return total;
}

int64_t padded_numel(const ParameterSpec& spec) {
  if (spec.row_multiple == 1) return numel(spec);
  return core::round_up(spec.shape.front(), spec.row_multiple) * (numel(spec) / spec.shape.front());
}

Layout lay_out(const std::vector<ParameterSpec>& specs) {
  Layout layout;
  int64_t end = 0;
  for (const ParameterSpec& spec : specs) {
    const int64_t offset = spec.adjoins_previous ? end : core::round_up(end, kAlignment);
    layout.parameters.push_back({.spec = spec, .offset = offset, .numel = numel(spec)});
    end = offset + padded_numel(spec);
  }
  layout.size = core::round_up(end, kAlignment);
  return layout;
}

void fill_initial(float* values, const Parameter& parameter, uint64_t seed) {
  const Initializer& initializer = parameter.spec.initializer;
  const uint64_t key = core::stream_key(seed, parameter.spec.name);
  at::parallel_for(0, parameter.numel, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      switch (initializer.kind) {
        case Initializer::Kind::kNormal:
          values[i] =
              static_cast<float>(initializer.value * core::random_normal(key, static_cast<uint64_t>(i)));
          break;
        case Initializer::Kind::kConstant:
          values[i] = static_cast<float>(initializer.value);
          break;
        case Initializer::Kind::kLogPosition:
          values[i] = static_cast<float>(std::log(static_cast<double>(i + 1)));
          break;
      }
    }
  });
}

ParameterStore::ParameterStore(const std::vector<ParameterSpec>& specs, at::Device device,
                               at::ScalarType compute_dtype, int64_t flat_alignment, bool with_gradient) {
  SSGPT_CHECK(compute_dtype == at::kFloat || compute_dtype == at::kBFloat16, "compute dtype {}",
              c10::toString(compute_dtype));
  Layout layout = lay_out(specs);
  const int64_t size = core::round_up(layout.size, flat_alignment);
  parameters_ = std::move(layout.parameters);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const bool is_new = index_.emplace(parameters_[i].spec.name, i).second;
    SSGPT_CHECK(is_new, "two parameters are called {}", parameters_[i].spec.name);
  }
  const at::TensorOptions options = at::TensorOptions().device(device);
  master_ = device::zeros_held({size}, options.dtype(at::kFloat));
  if (with_gradient) grad_ = device::zeros_held({size}, options.dtype(at::kFloat));
  compute_ = compute_dtype == at::kFloat ? master_ : device::zeros_held({size}, options.dtype(compute_dtype));
}

const Parameter& ParameterStore::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  SSGPT_CHECK(found != index_.end(), "there is no parameter {}", name);
  return parameters_[found->second];
}

bool ParameterStore::contains(std::string_view name) const {
  return index_.contains(std::string(name));
}

int64_t ParameterStore::num_parameters() const {
  int64_t total = 0;
  for (const Parameter& parameter : parameters_) total += parameter.numel;
  return total;
}

at::Tensor ParameterStore::master(std::string_view name) const {
  return view_of(master_, find(name));
}
at::Tensor ParameterStore::grad(std::string_view name) const {
  return view_of(grad_, find(name));
}
at::Tensor ParameterStore::compute(std::string_view name) const {
  return view_of(compute_, find(name));
}

at::Tensor ParameterStore::view_of(const at::Tensor& flat, const Parameter& parameter) {
  return flat.narrow(0, parameter.offset, parameter.numel).view(parameter.spec.shape);
}

at::Tensor ParameterStore::merged(const at::Tensor& flat, const std::vector<std::string>& names) const {
  SSGPT_CHECK(!names.empty(), "no names to merge");
  const Parameter& first = find(names.front());
  int64_t end = first.offset;
  for (const std::string& name : names) {
    const Parameter& parameter = find(name);
    SSGPT_CHECK(parameter.spec.shape.size() == 2 && parameter.spec.shape[1] == first.spec.shape[1],
                "{} has other columns than {}", name, names.front());
    SSGPT_CHECK(parameter.offset == end, "{} does not start where the one before ends", name);
    end += parameter.numel;
  }
  return flat.narrow(0, first.offset, end - first.offset).view({-1, first.spec.shape[1]});
}

at::Tensor ParameterStore::padded(const at::Tensor& flat, std::string_view name) const {
  const Parameter& parameter = find(name);
  const int64_t columns = parameter.numel / parameter.spec.shape.front();
  return flat.narrow(0, parameter.offset, padded_numel(parameter.spec)).view({-1, columns});
}

void ParameterStore::initialize(uint64_t seed) {
  // Computed on the CPU whatever the device, so that a seed gives the same weights everywhere.
  const at::Tensor values = at::zeros_like(master_, at::TensorOptions().device(at::kCPU));
  for (const Parameter& parameter : parameters_) {
    fill_initial(values.mutable_data_ptr<float>() + parameter.offset, parameter, seed);
  }
  master_.copy_(values);
  refresh_compute();
}

void ParameterStore::refresh_compute() {
  if (compute_.scalar_type() != at::kFloat) compute_.copy_(master_);
}

}  // namespace ssgpt::model
