// ssgpt inspect: describes what a path holds, and verifies its checksums.

#include "cli/commands.h"
#include "cli/inspection.h"
#include "cli/print.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "data/example_reader.h"
#include "run/directory.h"
#include "run/sweep_record.h"

#include <memory>

#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

namespace fs = std::filesystem;

struct InspectArguments {
  fs::path path;
  bool json = false;
  bool no_verify = false;
};

Inspection inspect(const fs::path& path, bool verify) {
  if (!core::exists(path)) throw core::InputError("{}: no such file or directory", path.string());
  if (core::is_directory(path)) {
    if (core::exists(path / "config.json")) return inspect_checkpoint(path, verify);
    if (core::exists(run::RunDirectory(path).config())) return inspect_run(path, verify);
    if (run::holds_sweep(path)) return inspect_sweep(path);
    if (core::exists(path / "prepare.json")) return inspect_prepared(path, verify);
    throw core::InputError(
        "{}: not a checkpoint (config.json), a run (config.yaml), a sweep (sweep.json) or prepared data "
        "(prepare.json)",
        path.string());
  }
  if (path.extension() == ".bin" || path.extension() == ".idx") return inspect_shard(path, verify);
  if (path.extension() == ".safetensors" || path.filename() == "config.json") {
    return inspect_checkpoint(path.parent_path().empty() ? fs::path(".") : path.parent_path(), verify);
  }
  if (data::is_named_as_examples(path)) {
    if (data::looks_like_examples(path)) return inspect_examples(path);
    throw core::InputError(
        "{}: not a file of fine-tuning examples: it has neither lines with the fields \"prompt\" and "
        "\"answer\" nor, in SQuAD's format, a list \"data\". For a run, a sweep, a checkpoint or prepared "
        "data, name the folder.",
        path.string());
  }
  try {
    return inspect_tokenizer(path);
  } catch (const core::InputError&) {
    throw core::InputError(
        "{}: neither token shards (.bin) nor a sentencepiece model, nor a file of examples by its name",
        path.string());
  }
}

void run(const InspectArguments& arguments) {
  fs::path path = arguments.path;
  if (!path.has_filename() && path.has_relative_path()) path = path.parent_path();
  const Inspection inspection = inspect(path, !arguments.no_verify);
  if (arguments.json) {
    fmt::print("{}\n", core::json_text(inspection.json));
  } else {
    print_text(inspection.text);
  }
  std::fflush(stdout);
  if (!inspection.faults.empty()) {
    throw core::InputError("{}: damaged: {}", path.string(), fmt::join(inspection.faults, "; "));
  }
}

}  // namespace

void add_inspect(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("inspect",
                         "Describe a checkpoint, a run directory, a sweep's folder, a token shard, a folder "
                         "of prepared data, a file of\n"
                         "examples or a sentencepiece model, and verify its checksums");
  const auto arguments = std::make_shared<InspectArguments>();
  command->add_option("PATH", arguments->path, "File or directory to inspect")->required()->type_name("PATH");
  command->add_flag("--json", arguments->json, "Print one JSON object");
  command->add_flag("--no-verify", arguments->no_verify,
                    "Skip the checks that read whole files: checksums and the largest token id");
  command->footer(
      "Exit code 3: a checksum does not match, or the path is not recognised.\n\n"
      "Example:\n"
      "  ssgpt inspect runs/quickstart/ssmax-seed1/checkpoints/step-00000300");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
