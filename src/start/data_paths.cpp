#include "start/data_paths.h"

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"

#include <string>
#include <vector>

namespace ssgpt::start {
namespace {

namespace fs = std::filesystem;

bool names_something(const std::string& pattern) {
  try {
    core::expand_globs({pattern});
    return true;
  } catch (const core::InputError&) {
    return false;
  }
}

void take_path_from(const fs::path& directory, const char* key, std::string& path) {
  if (fs::path(path).is_absolute() || names_something(path)) return;
  const std::string there = (directory / path).string();
  if (!names_something(there)) return;
  core::log::info("{}: {} is not here, and is read from {}, where the run read it before.", key, path,
                  directory.string());
  path = there;
}

}  // namespace

void take_paths_from(const fs::path& directory, const config::Config& before, config::Config& config) {
  if (directory.empty()) return;
  const auto take = [&](const char* key, const std::vector<std::string>& held,
                        std::vector<std::string>& paths) {
    if (paths != held) return;
    for (std::string& path : paths) take_path_from(directory, key, path);
  };
  take("data.train", before.data.train, config.data.train);
  take("data.validation", before.data.validation, config.data.validation);
  if (config.data.tokenizer && config.data.tokenizer == before.data.tokenizer) {
    std::string path = config.data.tokenizer->string();
    take_path_from(directory, "data.tokenizer", path);
    config.data.tokenizer = path;
  }
}

}  // namespace ssgpt::start
