#include "checkpoint/model_file.h"

#include "core/check.h"
#include "core/error.h"
#include "core/text.h"

#include <string_view>
#include <unordered_map>

#include <fmt/ranges.h>

namespace ssgpt::checkpoint {

FileDigest write_model_file(const std::filesystem::path& path, const FlatState& flat) {
  const at::Tensor& master = flat.master;
  std::vector<TensorToWrite> tensors;
  for (const model::Parameter& parameter : flat.layout) {
    SSGPT_CHECK(master.device().is_cpu() && master.scalar_type() == at::kFloat && master.is_contiguous() &&
                    parameter.offset + parameter.numel <= master.numel(),
                "{} is outside of a flat fp32 tensor on the CPU", parameter.spec.name);
    tensors.push_back({.name = parameter.spec.name,
                       .shape = parameter.spec.shape,
                       .values = {master.const_data_ptr<float>() + parameter.offset,
                                  static_cast<size_t>(parameter.numel)}});
  }
  return write_safetensors(path, tensors, {});
}

SafetensorsFile open_model_file(const std::filesystem::path& path,
                                const std::vector<model::ParameterSpec>& specs) {
  SafetensorsFile file(path);
  std::vector<ExpectedTensor> expected;
  for (const model::ParameterSpec& spec : specs) {
    expected.push_back({.name = spec.name, .shape = spec.shape});
  }
  check_tensors(file, expected);
  return file;
}

void read_model(const SafetensorsFile& file, const FlatState& flat) {
  for (const model::Parameter& parameter : flat.layout) {
    const TensorEntry* entry = file.find(parameter.spec.name);
    SSGPT_CHECK(entry != nullptr, "{} was opened for another model: it has no {}", file.path().string(),
                parameter.spec.name);
    file.read(*entry, {flat.master.mutable_data_ptr<float>() + parameter.offset,
                       static_cast<size_t>(parameter.numel)});
  }
}

void check_tensors(const SafetensorsFile& file, const std::vector<ExpectedTensor>& expected) {
  std::unordered_map<std::string_view, const TensorEntry*> rest;
  for (const TensorEntry& entry : file.entries()) {
    // Early versions of transformers stored RoPE's frequencies, which follow from the config.
    if (!entry.name.ends_with("rotary_emb.inv_freq")) {
      rest.emplace(entry.name, &entry);
    }
  }
  for (const ExpectedTensor& tensor : expected) {
    const auto found = rest.find(tensor.name);
    if (found == rest.end()) {
      throw core::InputError("{}: tensor '{}' is missing", file.path().string(), tensor.name);
    }
    if (found->second->shape != tensor.shape) {
      throw core::InputError("{}: tensor '{}' has shape [{}]; config.json asks for [{}]",
                             file.path().string(), tensor.name, fmt::join(found->second->shape, ", "),
                             fmt::join(tensor.shape, ", "));
    }
    file.check_readable(*found->second);
    rest.erase(found);
  }
  if (!rest.empty()) {
    throw core::InputError("{}: tensor '{}' is not part of the model that config.json describes",
                           file.path().string(), core::excerpt(rest.begin()->first));
  }
}

}  // namespace ssgpt::checkpoint
