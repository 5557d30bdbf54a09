#include "checkpoint/finite.h"

#include "checkpoint/moment_pieces.h"
#include "core/check.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <fmt/ranges.h>

namespace ssgpt::checkpoint {
namespace {

enum class Values { kAny, kNotNegative };  // that a tensor may have, of finite ones

bool all_valid(std::span<const float> values, Values allowed) {
  constexpr uint32_t kExponent = 0x7F800000;  // all ones in NaN and infinity alone
  // The bits of a number below zero are above those of -0.
  const uint32_t largest = allowed == Values::kNotNegative ? 0x80000000 : 0xFFFFFFFF;
  uint32_t found = 0;
  for (const float value : values) {  // without a branch, so that it is as fast as memory
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    found |= static_cast<uint32_t>((bits & kExponent) == kExponent) | static_cast<uint32_t>(bits > largest);
  }
  return found == 0;
}

std::optional<int64_t> find_invalid(std::span<const float> values, Values allowed) {
  if (all_valid(values, allowed)) return std::nullopt;
  const auto found = std::find_if(values.begin(), values.end(), [allowed](float value) {
    return !std::isfinite(value) || (allowed == Values::kNotNegative && value < 0.0F);
  });
  return found - values.begin();
}

std::string fault(const char* of, const model::Parameter& parameter, int64_t element, float value) {
  std::vector<int64_t> index;
  int64_t rest = element;
  for (auto size = parameter.spec.shape.rbegin(); size != parameter.spec.shape.rend(); ++size) {
    index.insert(index.begin(), rest % *size);
    rest /= *size;
  }
  return fmt::format("{}tensor '{}' is {} at [{}]", of, parameter.spec.name, value, fmt::join(index, ", "));
}

std::span<const float> values_of(const at::Tensor& tensor, int64_t first, int64_t count) {
  SSGPT_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat && tensor.is_contiguous() &&
                  first + count <= tensor.numel(),
              "elements {} to {} of a tensor of {}, fp32 on the CPU", first, first + count, tensor.numel());
  return {tensor.const_data_ptr<float>() + first, static_cast<size_t>(count)};
}

std::optional<std::string> first_in_moment(const FlatState& flat, const at::Tensor& moment, Values allowed,
                                           const char* of) {
  for (const model::Parameter& parameter : flat.layout) {
    const HeldPieces held = held_pieces(flat, parameter);
    int64_t position = held.position;
    for (const core::Range& piece : held.elements) {
      const std::span<const float> values = values_of(moment, position, piece.size());
      if (const auto found = find_invalid(values, allowed)) {
        return fault(of, parameter, piece.begin + *found, values[static_cast<size_t>(*found)]);
      }
      position += piece.size();
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> first_invalid(const FlatState& flat) {
  if (flat.master.defined()) {
    for (const model::Parameter& parameter : flat.layout) {
      const std::span<const float> values = values_of(flat.master, parameter.offset, parameter.numel);
      if (const auto found = find_invalid(values, Values::kAny)) {
        return fault("", parameter, *found, values[static_cast<size_t>(*found)]);
      }
    }
  }
  if (!flat.exp_avg.defined()) return std::nullopt;
  if (auto found = first_in_moment(flat, flat.exp_avg, Values::kAny, "the first moment (exp_avg) of "))
    return found;
  return first_in_moment(flat, flat.exp_avg_sq, Values::kNotNegative, "the second moment (exp_avg_sq) of ");
}

}  // namespace ssgpt::checkpoint
