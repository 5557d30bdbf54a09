// What `ssgpt inspect` finds, for each kind of thing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace ssgpt::cli {

struct Inspection {
  nlohmann::ordered_json json;      // what --json prints; "type" and "path" first
  std::string text;                 // the same for people
  std::vector<std::string> faults;  // what does not hold; the command then ends with exit code 3
};

// Each throws core::InputError where `path` is not what it takes it for. `verify` reads whole files:
// checksums, ids.
Inspection inspect_checkpoint(const std::filesystem::path& path, bool verify);
Inspection inspect_run(const std::filesystem::path& path, bool verify);
Inspection inspect_sweep(const std::filesystem::path& path);
Inspection inspect_shard(const std::filesystem::path& path, bool verify);
Inspection inspect_prepared(const std::filesystem::path& path, bool verify);
Inspection inspect_tokenizer(const std::filesystem::path& path);
Inspection inspect_examples(const std::filesystem::path& path);

}  // namespace ssgpt::cli
