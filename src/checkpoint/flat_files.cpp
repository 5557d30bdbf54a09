#include "checkpoint/flat_files.h"

#include "core/check.h"
#include "core/error.h"

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
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

nlohmann::ordered_json range_of(int64_t numel) {
  return {int64_t{0}, numel};
}

// Compares the tensors of the file with those of the parameters, each under its name and every suffix.
void check_tensors(const SafetensorsFile& file, const std::vector<model::ParameterSpec>& specs,
                   const std::vector<std::string>& suffixes) {
  std::unordered_map<std::string_view, const TensorEntry*> rest;
  for (const TensorEntry& entry : file.entries()) {
    // Early versions of transformers stored RoPE's frequencies, which follow from the config.
    if (!entry.name.ends_with("rotary_emb.inv_freq")) {
      rest.emplace(entry.name, &entry);
    }
  }
  for (const std::string& suffix : suffixes) {
    for (const model::ParameterSpec& spec : specs) {
      const std::string name = spec.name + suffix;
      const auto found = rest.find(name);
      if (found == rest.end()) {
        throw core::InputError("{}: tensor '{}' is missing", file.path().string(), name);
      }
      if (found->second->shape != spec.shape) {
        throw core::InputError("{}: tensor '{}' has shape [{}]; config.json asks for [{}]",
                               file.path().string(), name, fmt::join(found->second->shape, ", "),
                               fmt::join(spec.shape, ", "));
      }
      rest.erase(found);
    }
  }
  if (!rest.empty()) {
    throw core::InputError("{}: tensor '{}' is not part of the model that config.json describes",
                           file.path().string(), rest.begin()->first);
  }
}

// Reads tensor `name` into the elements of `flat` that belong to `parameter`.
void read_tensor(const SafetensorsFile& file, const std::string& name, const at::Tensor& flat,
                 const model::Parameter& parameter) {
  const TensorEntry* entry = file.find(name);
  SSGPT_CHECK(entry != nullptr, "{} was opened for another model: it has no {}", file.path().string(), name);
  file.read(*entry,
            {flat.mutable_data_ptr<float>() + parameter.offset, static_cast<size_t>(parameter.numel)});
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
  nlohmann::ordered_json ranges;
  for (const model::Parameter& parameter : flat.layout) {
    ranges[parameter.spec.name] = range_of(parameter.numel);
  }
  return write_safetensors(path, tensors, {{"ranges", ranges.dump()}});
}

SafetensorsFile open_model_file(const std::filesystem::path& path,
                                const std::vector<model::ParameterSpec>& specs) {
  SafetensorsFile file(path);
  check_tensors(file, specs, {""});
  return file;
}

SafetensorsFile open_optimizer_file(const std::filesystem::path& path,
                                    const std::vector<model::ParameterSpec>& specs) {
  SafetensorsFile file(path);
  nlohmann::json expected;
  for (const model::ParameterSpec& spec : specs) {
    expected[spec.name] = range_of(model::numel(spec));
  }
  const auto ranges = file.metadata().find("ranges");
  if (ranges == file.metadata().end() ||
      nlohmann::json::parse(ranges->second, nullptr, /*allow_exceptions=*/false) != expected) {
    throw core::InputError("{}: does not hold the whole moments of this model (metadata 'ranges')",
                           path.string());
  }
  check_tensors(file, specs, {kFirstMoment, kSecondMoment});
  return file;
}

void read_model(const SafetensorsFile& file, const FlatState& flat) {
  for (const model::Parameter& parameter : flat.layout) {
    read_tensor(file, parameter.spec.name, flat.master, parameter);
  }
}

void read_moments(const SafetensorsFile& file, const FlatState& flat) {
  for (const model::Parameter& parameter : flat.layout) {
    read_tensor(file, parameter.spec.name + kFirstMoment, flat.exp_avg, parameter);
    read_tensor(file, parameter.spec.name + kSecondMoment, flat.exp_avg_sq, parameter);
  }
}

}  // namespace ssgpt::checkpoint
