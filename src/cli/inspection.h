// The results of `ssgpt inspect`, by type of object.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ssgpt::cli {

struct Inspection {
  nlohmann::ordered_json json;      // printed by --json; "type" and "path" first
  std::string text;                 // the same as readable text
  std::vector<std::string> faults;  // damages found; if any, the command ends with exit code 3
};

// Each throws core::InputError where `path` is not of the expected type. `verify` reads whole files, for
// checksums and the largest id.
Inspection inspect_checkpoint(const std::filesystem::path& path, bool verify);
Inspection inspect_run(const std::filesystem::path& path, bool verify);
Inspection inspect_sweep(const std::filesystem::path& path);
Inspection inspect_shard(const std::filesystem::path& path, bool verify);
Inspection inspect_prepared(const std::filesystem::path& path, bool verify);
Inspection inspect_tokenizer(const std::filesystem::path& path);
Inspection inspect_examples(const std::filesystem::path& path);

}  // namespace ssgpt::cli
