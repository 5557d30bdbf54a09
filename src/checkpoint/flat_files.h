// The flat tensors of a checkpoint as safetensors files: model.safetensors and
// trainer/optimizer-*.safetensors.
#pragma once

#include "checkpoint/manifest.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/state.h"

#include <filesystem>
#include <vector>

namespace ssgpt::checkpoint {

inline constexpr const char* kModelName = "model.safetensors";
// The moments of rank 00000 of 00001: named so that more ranks can each write their own range.
inline constexpr const char* kOptimizerName = "trainer/optimizer-00000-of-00001.safetensors";

// Tensors under the names of the layout, fp32. Reads raw memory only: enters no OpenMP region. Throws
// core::RunError.
FileDigest write_model_file(const std::filesystem::path& path, const FlatState& flat);

// <parameter>.exp_avg and <parameter>.exp_avg_sq; the metadata key "ranges" maps each parameter to the
// elements [first, last) of it that the file holds.
FileDigest write_optimizer_file(const std::filesystem::path& path, const FlatState& flat);

// Opens a file and compares the names and shapes of its header with the parameters: no memory is taken for
// tensors that the file does not hold. Throws core::InputError for a tensor that is missing, of another shape
// or not expected.
SafetensorsFile open_model_file(const std::filesystem::path& path,
                                const std::vector<model::ParameterSpec>& specs);
SafetensorsFile open_optimizer_file(const std::filesystem::path& path,
                                    const std::vector<model::ParameterSpec>& specs);

// Fills the master (the moments) of `flat`, made for the parameters that the file was opened with; fp32, bf16
// or fp16 files.
void read_model(const SafetensorsFile& file, const FlatState& flat);
void read_moments(const SafetensorsFile& file, const FlatState& flat);

}  // namespace ssgpt::checkpoint
