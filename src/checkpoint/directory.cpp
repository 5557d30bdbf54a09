#include "checkpoint/directory.h"

#include "checkpoint/finite.h"
#include "checkpoint/manifest.h"
#include "checkpoint/model_config.h"
#include "checkpoint/model_file.h"
#include "checkpoint/modeling_file.h"
#include "checkpoint/optimizer_files.h"
#include "checkpoint/tokenizer_files.h"
#include "checkpoint/trainer_state.h"
#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/ranges.h>

namespace ssgpt::checkpoint {

namespace {

// Writes the files of the tokenizer and returns the ids that the configs name. The weights of a run are worth
// more than these: where it `may_lack` the tokenizer, one that went away during the run, became another one
// or cannot be read is reported and left out.
SpecialTokens write_tokenizer(const std::filesystem::path& directory, const Snapshot& snapshot, bool may_lack,
                              Manifest& manifest) {
  SpecialTokens tokens{.bos = std::nullopt, .eos = snapshot.spec.document_token_id, .padding = std::nullopt};
  if (!snapshot.tokenizer) {
    return tokens;
  }
  std::shared_ptr<const TokenizerFiles> files;
  try {
    files = read_tokenizer_files(*snapshot.tokenizer,
                                 snapshot.trainer ? snapshot.trainer->tokenizer_fingerprint : "");
    if (!tokens.eos && !files->ids.eos) throw core::InputError("{}", files->no_eos);
  } catch (const core::Error& error) {
    if (!may_lack) throw;
    core::log::warning("{}; the checkpoint is written without its tokenizer", error.what());
    return tokens;
  }
  if (!tokens.eos) tokens.eos = files->ids.eos;
  tokens.bos = files->ids.bos;
  tokens.padding = files->ids.padding;
  const auto write = [&](const char* name, std::string_view text) {
    manifest.files[name] = write_digested(directory / name, text);
  };
  write(kTokenizerName, files->model);
  if (files->hugging_face) {
    write(kHuggingFaceTokenizerName, files->hugging_face->tokenizer);
    write(kHuggingFaceTokenizerConfigName, files->hugging_face->tokenizer_config);
  }
  return tokens;
}

void require_finite(const FlatState& flat) {
  if (const auto fault = first_invalid(flat)) throw core::RunError("{}: training diverged", *fault);
}

void write_files(const std::filesystem::path& directory, const Snapshot& snapshot, bool may_lack_tokenizer,
                 SharedSave* shared) {
  if (snapshot.trainer) {
    core::create_writable_directory(directory / "trainer");
  }
  if (shared != nullptr) {
    shared->open(directory);  // first, so that all ranks write at the same time
  }
  Manifest manifest;
  const SpecialTokens tokens = write_tokenizer(directory, snapshot, may_lack_tokenizer, manifest);
  manifest.files[kConfigName] =
      write_digested(directory / kConfigName, model_config_text(snapshot.spec, tokens));
  manifest.files[kGenerationConfigName] =
      write_digested(directory / kGenerationConfigName, generation_config_text(tokens));
  if (model_type(snapshot.spec) == kOwnModelType) {
    const std::string name(kModelingFileName);
    manifest.files[name] = write_digested(directory / name, modeling_file());
  }
  manifest.files[kModelName] = write_model_file(directory / kModelName, snapshot.flat);
  if (snapshot.trainer) {
    SSGPT_CHECK(snapshot.flat.exp_avg.defined(), "a trainer state without moments");
    const std::string name = optimizer_file_name(0, shared != nullptr ? shared->world_size() : 1);
    manifest.files[name] = write_optimizer_file(directory / name, snapshot.flat);
    manifest.files[kTrainerStateName] =
        write_digested(directory / kTrainerStateName, trainer_state_text(*snapshot.trainer));
  }
  if (shared != nullptr) {
    shared->collect(manifest);
  }
  if (snapshot.trainer) {
    core::sync_directory(directory / "trainer");
  }
  write_manifest(directory, manifest);
}

void read_back(const std::filesystem::path& directory) {
  std::vector<std::string> faults;
  try {
    faults = compare_with_manifest(directory, read_manifest(directory), /*checksums=*/true);
  } catch (const core::InputError& error) {
    faults.emplace_back(error.what());
  }
  if (!faults.empty()) {
    throw core::RunError("what was written does not read back the same: {}", fmt::join(faults, "; "));
  }
}

// Puts `fresh` in the place of what stands under `directory`. The two names are exchanged in one step, so
// that a kill at any moment leaves a directory under the name; the old one then has the temporary name and
// goes with `fresh`.
void replace(core::AtomicDirectory& fresh, const std::filesystem::path& directory) {
  core::sync_directory(fresh.temporary());
  if (::renameat2(AT_FDCWD, fresh.temporary().c_str(), AT_FDCWD, directory.c_str(), RENAME_EXCHANGE) == 0) {
    core::sync_directory(std::filesystem::absolute(directory).parent_path());
    return;
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
    throw core::RunError("{}: cannot be replaced: {}", directory.string(),
                         std::generic_category().message(errno));
  }
  // A file system without exchange (NFS, some FUSE): what is replaced is no checkpoint that a run goes on
  // from, so it may go first.
  remove_directory(directory);
  fresh.commit();
}

}  // namespace

void write_directory(const std::filesystem::path& directory, const Snapshot& snapshot, bool verify,
                     IfExists if_exists, SharedSave* shared) {
  SSGPT_CHECK(shared != nullptr || snapshot.flat.moment_ranges.empty(),
              "one rank writes a part of the moments");
  const bool exists = std::filesystem::exists(core::link_status(directory));
  if (exists && if_exists == IfExists::kRefuse) {
    throw core::RunError("{}: exists already; name a new directory for the checkpoint", directory.string());
  }
  try {
    require_finite(snapshot.flat);
    core::AtomicDirectory fresh(directory);
    // A command can be repeated if the tokenizer is missing; a run cannot.
    write_files(fresh.temporary(), snapshot, /*may_lack_tokenizer=*/if_exists == IfExists::kReplace, shared);
    if (verify) {
      read_back(fresh.temporary());
    }
    if (exists) {
      replace(fresh, directory);
    } else {
      fresh.commit();
    }
  } catch (const std::filesystem::filesystem_error& error) {
    throw core::RunError("the checkpoint {} was not written: {}", directory.string(), error.what());
  } catch (const parallel::PeerFailure& error) {
    throw parallel::PeerFailure(
        fmt::format("the checkpoint {} was not written: {}", directory.string(), error.what()));
  } catch (const core::Error& error) {
    throw core::RunError("the checkpoint {} was not written: {}", directory.string(), error.what());
  }
}

void write_share(const FlatState& flat, SharedSave& shared) {
  try {
    require_finite(flat);
    const std::filesystem::path path =
        shared.temporary() / optimizer_file_name(shared.rank(), shared.world_size());
    shared.add(write_optimizer_file(path, flat));
  } catch (const core::RunError& error) {
    throw core::RunError("the moments of rank {} were not written, and so the checkpoint was not: {}",
                         shared.rank(), error.what());
  }
}

void remove_directory(const std::filesystem::path& directory) {
  try {
    const core::AtomicDirectory trash(directory);  // its destructor deletes what is moved into it
    std::filesystem::rename(directory, trash.temporary() / "old");
  } catch (const std::exception& error) {
    core::log::warning("the old checkpoint {} could not be deleted: {}", directory.string(), error.what());
  }
}

}  // namespace ssgpt::checkpoint
