#include "checkpoint/state.h"

#include "core/error.h"

#include <string_view>
#include <unordered_map>

#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

namespace ssgpt::checkpoint {

namespace {

constexpr int64_t kAlignment = 32;  // elements: 128 bytes of fp32

int64_t align(int64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

void copy_tensor(const at::Tensor& from, const model::Parameter& source, const at::Tensor& to,
                 const model::Parameter& target) {
  to.narrow(0, target.offset, target.numel).copy_(from.narrow(0, source.offset, source.numel));
}

}  // namespace

FlatState make_flat_state(const std::vector<model::ParameterSpec>& specs, bool with_moments) {
  FlatState state;
  int64_t end = 0;
  for (const model::ParameterSpec& spec : specs) {
    int64_t numel = 1;
    for (const int64_t dimension : spec.shape) {
      numel *= dimension;
    }
    const int64_t offset = spec.adjoins_previous ? end : align(end);
    state.layout.push_back({.spec = spec, .offset = offset, .numel = numel});
    end = offset + numel;
  }
  const int64_t size = align(end);
  state.master = at::zeros({size}, at::kFloat);
  if (with_moments) {
    state.exp_avg = at::zeros({size}, at::kFloat);
    state.exp_avg_sq = at::zeros({size}, at::kFloat);
  }
  return state;
}

std::vector<std::string> copy_by_name(const FlatState& from, const FlatState& to) {
  std::unordered_map<std::string_view, const model::Parameter*> sources;
  for (const model::Parameter& parameter : from.layout) {
    sources.emplace(parameter.spec.name, &parameter);
  }
  std::vector<std::string> missing;
  for (const model::Parameter& target : to.layout) {
    const auto found = sources.find(target.spec.name);
    if (found == sources.end()) {
      missing.push_back(target.spec.name);
      continue;
    }
    const model::Parameter& source = *found->second;
    if (source.spec.shape != target.spec.shape) {
      throw core::InputError(
          "{}: shape [{}] in the checkpoint, [{}] in the model: they are of different sizes",
          target.spec.name, fmt::join(source.spec.shape, ", "), fmt::join(target.spec.shape, ", "));
    }
    copy_tensor(from.master, source, to.master, target);
    if (from.exp_avg.defined() && to.exp_avg.defined()) {
      copy_tensor(from.exp_avg, source, to.exp_avg, target);
      copy_tensor(from.exp_avg_sq, source, to.exp_avg_sq, target);
    }
  }
  return missing;
}

}  // namespace ssgpt::checkpoint
