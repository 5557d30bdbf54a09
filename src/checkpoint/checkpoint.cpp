#include "checkpoint/checkpoint.h"

#include "checkpoint/directory.h"
#include "checkpoint/finite.h"
#include "checkpoint/manifest.h"
#include "checkpoint/model_config.h"
#include "checkpoint/model_file.h"
#include "checkpoint/optimizer_files.h"
#include "checkpoint/trainer_state.h"
#include "core/error.h"
#include "core/file.h"

#include <string_view>
#include <utility>

#include <fmt/ranges.h>

namespace ssgpt::checkpoint {

namespace {

// Refuses directories that hold no model this program reads, with the reason. A directory without a manifest
// is either a model of another program (no trainer/) or a checkpoint that lost it.
void check_is_model(const std::filesystem::path& directory) {
  const std::string name = directory.string();
  if (!core::is_directory(directory)) {
    throw core::InputError("{}: no such checkpoint directory", name);
  }
  if (!core::exists(directory / kConfigName)) {
    const std::vector<run::Checkpoint> saved = run::RunDirectory(directory).complete_checkpoints();
    const std::string hint = saved.empty() ? ""
                                           : fmt::format(". It is a run; its newest checkpoint is {}",
                                                         saved.back().directory.string());
    throw core::InputError("{}: not a checkpoint: it has no config.json{}", name, hint);
  }
  if (!core::exists(directory / kManifestName) && core::exists(directory / "trainer")) {
    throw core::InputError("{}: manifest.json is missing, so the checkpoint is not known to be complete",
                           name);
  }
  if (core::exists(directory / kModelName)) {
    return;
  }
  if (core::exists(directory / "model.safetensors.index.json")) {
    throw core::InputError(
        "{}: the model is split over several files; load it in transformers and save it with "
        "save_pretrained(..., max_shard_size=\"1TB\")",
        name);
  }
  if (core::exists(directory / "pytorch_model.bin")) {
    throw core::InputError(
        "{}: pytorch_model.bin cannot be read; save the model with safe_serialization=True", name);
  }
  throw core::InputError("{}: not a checkpoint: it has no model.safetensors", name);
}

std::string unlisted(const std::filesystem::path& directory, std::string_view name) {
  return fmt::format("{}: the manifest does not list {}", directory.string(), name);
}

// A file that is there but not listed is not known to be whole, and a trainer state without moments would
// resume with zeros.
std::vector<std::string> unlisted_files(const std::filesystem::path& directory, const Manifest& manifest) {
  std::vector<std::string> expected = {kConfigName, kModelName};
  std::vector<std::string> faults;
  if (core::exists(directory / "trainer")) {
    expected.emplace_back(kTrainerStateName);
    std::vector<std::string> names = list_optimizer_files(directory);
    for (const auto& [name, ignored] : manifest.files) {
      names.push_back(name);
    }
    const OptimizerFileSet set = optimizer_file_set(names);
    if (set.is_mixed()) {
      faults.push_back(mixed_files_fault(directory, set));
    }
    expected.insert(expected.end(), set.names.begin(), set.names.end());
  }
  for (const std::string& name : expected) {
    if (!manifest.files.contains(name)) {
      faults.push_back(unlisted(directory, name));
    }
  }
  return faults;
}

void throw_if_any(const std::vector<std::string>& faults, const std::filesystem::path& directory) {
  if (faults.empty()) {
    return;
  }
  throw core::InputError("the checkpoint {} is damaged: {}", directory.string(), fmt::join(faults, "; "));
}

void check_manifest(const std::filesystem::path& directory, bool checksums) {
  if (!core::exists(directory / kManifestName)) {
    return;
  }
  const Manifest manifest = read_manifest(directory);
  std::vector<std::string> faults = unlisted_files(directory, manifest);
  if (faults.empty()) {
    faults = compare_with_manifest(directory, manifest, checksums);
  }
  throw_if_any(faults, directory);
}

// Checks, before they are parsed, that the small files of a summary are those that were written. An unknown
// format version is reported before anything else can fail.
void check_described_files(const std::filesystem::path& directory) {
  if (!core::exists(directory / kManifestName)) {
    return;
  }
  const Manifest manifest = read_manifest(directory);
  Manifest described;
  std::vector<std::string> faults;
  for (const char* name : {kConfigName, kTrainerStateName}) {
    const auto listed = manifest.files.find(name);
    if (listed != manifest.files.end()) {
      described.files.insert(*listed);
    } else if (core::exists(directory / name)) {
      faults.push_back(unlisted(directory, name));
    }
  }
  throw_if_any(faults, directory);
  throw_if_any(compare_with_manifest(directory, described, /*checksums=*/true), directory);
}

}  // namespace

void write(const std::filesystem::path& directory, const Snapshot& snapshot) {
  write_directory(directory, snapshot, /*verify=*/false, IfExists::kRefuse);
}

Summary read_summary(const std::filesystem::path& directory) {
  check_is_model(directory);
  check_described_files(directory);
  Summary summary{
      .spec = read_model_config(directory / kConfigName), .trainer = std::nullopt, .tokenizer = std::nullopt};
  if (core::exists(directory / kTrainerStateName)) {
    summary.trainer = read_trainer_state(directory / kTrainerStateName);
    summary.num_optimizer_files = static_cast<int64_t>(list_optimizer_files(directory).size());
  }
  if (core::exists(directory / kTokenizerName)) {
    summary.tokenizer = directory / kTokenizerName;
  }
  return summary;
}

Snapshot read(const std::filesystem::path& directory, bool with_optimizer, bool verify) {
  check_is_model(directory);
  check_manifest(directory, verify);
  Summary summary = read_summary(directory);
  Snapshot snapshot{.spec = summary.spec,
                    .flat = {},
                    .trainer = std::move(summary.trainer),
                    .tokenizer = std::move(summary.tokenizer)};
  const bool moments = with_optimizer && snapshot.trainer.has_value();
  const std::vector<model::ParameterSpec> specs =
      model::parameter_specs(snapshot.spec.config, snapshot.spec.sequence_length);
  const SafetensorsFile model = open_model_file(directory / kModelName, specs);
  std::vector<std::filesystem::path> optimizer;
  if (moments) {
    optimizer = find_optimizer_files(directory);
    check_optimizer_files(optimizer, specs);
  }
  snapshot.flat = make_flat_state(specs, moments);
  read_model(model, snapshot.flat);
  if (moments) {
    read_moments(optimizer, snapshot.flat);
  }
  if (const auto fault = first_invalid(snapshot.flat)) {
    throw core::InputError(
        "{}: {}: its training diverged, or the file is damaged. Take an earlier checkpoint.",
        directory.string(), *fault);
  }
  return snapshot;
}

std::vector<std::string> verify(const std::filesystem::path& directory) {
  try {
    check_is_model(directory);
    const Manifest manifest = read_manifest(directory);
    std::vector<std::string> faults = compare_with_manifest(directory, manifest, /*checksums=*/true);
    for (std::string& fault : unlisted_files(directory, manifest)) {
      faults.push_back(std::move(fault));
    }
    return faults;
  } catch (const core::InputError& error) {
    return {error.what()};
  }
}

}  // namespace ssgpt::checkpoint
