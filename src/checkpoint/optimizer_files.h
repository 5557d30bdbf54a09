// trainer/optimizer-RRRRR-of-NNNNN.safetensors: the moments, in one file for each rank that held a share of
// them (N = 1 where one process held the whole). Together the files hold every element of every parameter
// once.
//
// The metadata key "ranges" maps each parameter of which a file holds elements to these elements,
// [first, last, first, last, ...]. <parameter>.exp_avg and <parameter>.exp_avg_sq have the parameter's shape
// if the file holds all of it; otherwise they are the pieces back to back, in one dimension. No file contains
// alignment padding.
#pragma once

#include "checkpoint/manifest.h"
#include "checkpoint/state.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ssgpt::checkpoint {

// Relative to the checkpoint.
std::string optimizer_file_name(int64_t rank, int64_t world_size);

// The complete set of optimizer files to which `names` belong; names of other files are ignored.
struct OptimizerFileSet {
  std::vector<int64_t> world_sizes;  // the world sizes in the names, ascending
  std::vector<std::string> names;    // one per rank; empty if there are several world sizes
  bool is_mixed() const { return world_sizes.size() > 1; }
};
OptimizerFileSet optimizer_file_set(const std::vector<std::string>& names);
std::string mixed_files_fault(const std::filesystem::path& directory, const OptimizerFileSet& set);

// The names of the optimizer files that a checkpoint has, whether complete or not. Throws core::InputError
// where its trainer/ cannot be listed.
std::vector<std::string> list_optimizer_files(const std::filesystem::path& directory);

// The optimizer files of a checkpoint, by rank. Throws core::InputError that names what is missing, or that
// files of several world sizes are mixed.
std::vector<std::filesystem::path> find_optimizer_files(const std::filesystem::path& directory);

// Writes the elements that the moments of `flat` hold. Reads raw memory only: enters no OpenMP region. Throws
// core::RunError.
FileDigest write_optimizer_file(const std::filesystem::path& path, const FlatState& flat);

// Checks the headers alone, so that no memory is taken for tensors that are not there: that together the
// files hold every element of these parameters once. Throws core::InputError that names parameter and
// elements, or as check_tensors does.
void check_optimizer_files(const std::vector<std::filesystem::path>& paths,
                           const std::vector<model::ParameterSpec>& specs);

// Fills the whole moments of `flat` from files that were checked for its parameters.
void read_moments(const std::vector<std::filesystem::path>& paths, const FlatState& flat);

}  // namespace ssgpt::checkpoint
