#include "checkpoint/flat_files.h"

#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "core/error.h"

#include <span>
#include <unordered_set>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {

namespace {

constexpr const char* kFirstMoment = ".exp_avg";
constexpr const char* kSecondMoment = ".exp_avg_sq";

std::span<const float> values_of(const at::Tensor& flat, const model::Parameter& parameter) {
  SSGPT_CHECK(flat.device().is_cpu() && flat.scalar_type() == at::kFloat && flat.is_contiguous() &&
                  parameter.offset + parameter.numel <= flat.numel(),
              "{} is outside of a flat fp32 tensor on the CPU", parameter.spec.name);
  return {flat.const_data_ptr<float>() + parameter.offset, static_cast<size_t>(parameter.numel)};
}

nlohmann::ordered_json ranges_of(const FlatState& flat) {
  nlohmann::ordered_json ranges;
  for (const model::Parameter& parameter : flat.layout) {
    ranges[parameter.spec.name] = {int64_t{0}, parameter.numel};
  }
  return ranges;
}

// Reads tensor `name` into the elements of `flat` that belong to `parameter`.
void read_tensor(const SafetensorsFile& file, const std::string& name, const at::Tensor& flat,
                 const model::Parameter& parameter) {
  const TensorEntry* entry = file.find(name);
  if (entry == nullptr) {
    throw core::InputError("{}: tensor '{}' is missing", file.path().string(), name);
  }
  if (entry->shape != parameter.spec.shape) {
    throw core::InputError("{}: tensor '{}' has shape [{}]; config.json asks for [{}]", file.path().string(),
                           name, fmt::join(entry->shape, ", "), fmt::join(parameter.spec.shape, ", "));
  }
  file.read(*entry,
            {flat.mutable_data_ptr<float>() + parameter.offset, static_cast<size_t>(parameter.numel)});
}

void refuse_unexpected(const SafetensorsFile& file, const std::unordered_set<std::string>& expected) {
  for (const TensorEntry& entry : file.entries()) {
    // Early versions of transformers stored RoPE's frequencies, which follow from the config.
    if (!expected.contains(entry.name) && !entry.name.ends_with("rotary_emb.inv_freq")) {
      throw core::InputError("{}: tensor '{}' is not part of the model that config.json describes",
                             file.path().string(), entry.name);
    }
  }
}

}  // namespace

FileDigest write_model_file(const std::filesystem::path& path, const FlatState& flat) {
  std::vector<TensorToWrite> tensors;
  for (const model::Parameter& parameter : flat.layout) {
    tensors.push_back({.name = parameter.spec.name,
                       .shape = parameter.spec.shape,
                       .values = values_of(flat.master, parameter)});
  }
  return write_safetensors(path, tensors, {});
}

FileDigest write_optimizer_file(const std::filesystem::path& path, const FlatState& flat) {
  std::vector<TensorToWrite> tensors;
  for (const auto& [suffix, moment] :
       {std::pair(kFirstMoment, &flat.exp_avg), {kSecondMoment, &flat.exp_avg_sq}}) {
    for (const model::Parameter& parameter : flat.layout) {
      tensors.push_back({.name = parameter.spec.name + suffix,
                         .shape = parameter.spec.shape,
                         .values = values_of(*moment, parameter)});
    }
  }
  return write_safetensors(path, tensors, {{"ranges", ranges_of(flat).dump()}});
}

void read_model_file(const std::filesystem::path& path, const FlatState& flat) {
  const SafetensorsFile file(path);
  std::unordered_set<std::string> expected;
  for (const model::Parameter& parameter : flat.layout) {
    read_tensor(file, parameter.spec.name, flat.master, parameter);
    expected.insert(parameter.spec.name);
  }
  refuse_unexpected(file, expected);
}

void read_optimizer_file(const std::filesystem::path& path, const FlatState& flat) {
  const SafetensorsFile file(path);
  const auto ranges = file.metadata().find("ranges");
  if (ranges == file.metadata().end() ||
      nlohmann::json::parse(ranges->second, nullptr, /*allow_exceptions=*/false) !=
          nlohmann::json(ranges_of(flat))) {
    throw core::InputError("{}: does not hold the whole moments of this model (metadata 'ranges')",
                           path.string());
  }
  std::unordered_set<std::string> expected;
  for (const auto& [suffix, moment] :
       {std::pair(kFirstMoment, &flat.exp_avg), {kSecondMoment, &flat.exp_avg_sq}}) {
    for (const model::Parameter& parameter : flat.layout) {
      read_tensor(file, parameter.spec.name + suffix, *moment, parameter);
      expected.insert(parameter.spec.name + suffix);
    }
  }
  refuse_unexpected(file, expected);
}

}  // namespace ssgpt::checkpoint
