// model.safetensors: the weights of a checkpoint.
#pragma once

#include "checkpoint/manifest.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/state.h"

#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::checkpoint {

inline constexpr const char* kModelName = "model.safetensors";

// Tensors under the names of the layout, fp32. Reads raw memory only: enters no OpenMP region. Throws
// core::RunError.
FileDigest write_model_file(const std::filesystem::path& path, const FlatState& flat);

// Opens the file and checks its header against the parameters: no memory is taken for tensors that the file
// does not hold. Throws core::InputError as check_tensors does.
SafetensorsFile open_model_file(const std::filesystem::path& path,
                                const std::vector<model::ParameterSpec>& specs);

// Fills the master of `flat`, made for the parameters that the file was opened with.
void read_model(const SafetensorsFile& file, const FlatState& flat);

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

// Compares the header of the file with the tensors it should hold, in fp32, bf16 or fp16. Throws
// core::InputError for one that is missing, of another shape or dtype, or not expected.
void check_tensors(const SafetensorsFile& file, const std::vector<ExpectedTensor>& expected);

}  // namespace ssgpt::checkpoint
