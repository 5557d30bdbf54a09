// The files of one checkpoint directory, written complete or not at all.
#pragma once

#include "checkpoint/shared_save.h"
#include "checkpoint/state.h"

#include <filesystem>

namespace ssgpt::checkpoint {

inline constexpr const char* kConfigName = "config.json";
inline constexpr const char* kGenerationConfigName = "generation_config.json";
inline constexpr const char* kTokenizerName = "tokenizer.model";
inline constexpr const char* kHuggingFaceTokenizerName = "tokenizer.json";
inline constexpr const char* kHuggingFaceTokenizerConfigName = "tokenizer_config.json";
inline constexpr const char* kTrainerStateName = "trainer/state.json";

enum class IfExists { kRefuse, kReplace };

// Writes the snapshot; with `verify`, reads every file back against the manifest before the directory gets
// its name. A directory that kReplace finds goes only when the new one is complete, and what it writes may
// lack the tokenizer where that cannot be read. Raw memory only: enters no OpenMP region. Throws
// core::RunError, with nothing new under the name.
//
// With `shared`, on rank 0, the other ranks add their optimizer files (write_share) before the directory gets
// its name; parallel::PeerFailure where one does not.
void write_directory(const std::filesystem::path& directory, const Snapshot& snapshot, bool verify,
                     IfExists if_exists, SharedSave* shared = nullptr);

// On a rank other than 0: adds the file of its moments to the checkpoint that rank 0 writes. Throws
// core::RunError, or parallel::PeerFailure.
void write_share(const FlatState& flat, SharedSave& shared);

// Deletes a checkpoint; a kill in between leaves no directory under its name that lacks files. Throws
// nothing: a failure is logged.
void remove_directory(const std::filesystem::path& directory);

}  // namespace ssgpt::checkpoint
