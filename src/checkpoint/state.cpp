#include "checkpoint/state.h"

#include "checkpoint/moment_pieces.h"
#include "core/check.h"
#include "core/error.h"

#include <string_view>
#include <unordered_map>
#include <utility>

#include <ATen/ops/zeros.h>
#include <fmt/ranges.h>

namespace ssgpt::checkpoint {

namespace {

// Copies the moments of `target` that `to` holds from the complete moments of `from`.
void copy_moments(const FlatState& from, const model::Parameter& source, const FlatState& to,
                  const model::Parameter& target) {
  const HeldPieces held = held_pieces(to, target);
  int64_t position = held.position;
  for (const core::Range& piece : held.elements) {
    const int64_t begin = source.offset + piece.begin;
    to.exp_avg.narrow(0, position, piece.size()).copy_(from.exp_avg.narrow(0, begin, piece.size()));
    to.exp_avg_sq.narrow(0, position, piece.size()).copy_(from.exp_avg_sq.narrow(0, begin, piece.size()));
    position += piece.size();
  }
}

}  // namespace

FlatState make_flat_state(const std::vector<model::ParameterSpec>& specs, bool with_moments) {
  model::Layout layout = model::lay_out(specs);
  const int64_t size = layout.size;
  FlatState state;
  state.layout = std::move(layout.parameters);
  state.master = at::zeros({size}, at::kFloat);
  if (with_moments) {
    state.exp_avg = at::zeros({size}, at::kFloat);
    state.exp_avg_sq = at::zeros({size}, at::kFloat);
  }
  return state;
}

std::vector<std::string> copy_by_name(const FlatState& from, const FlatState& to) {
  SSGPT_CHECK(from.moment_ranges.empty(), "tensors are taken by name out of a part of the moments");
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
    to.master.narrow(0, target.offset, target.numel)
        .copy_(from.master.narrow(0, source.offset, source.numel));
    if (from.exp_avg.defined() && to.exp_avg.defined()) {
      copy_moments(from, source, to, target);
    }
  }
  return missing;
}

void load_into(const FlatState& from, const FlatState& to) {
  const std::vector<std::string> missing = copy_by_name(from, to);
  if (!missing.empty()) {
    throw core::InputError("the checkpoint lacks {} of the model's tensors: {}", missing.size(),
                           fmt::join(missing, ", "));
  }
}

}  // namespace ssgpt::checkpoint
