#include "start/terms.h"

#include "checkpoint/checkpoint.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "core/version.h"
#include "kernels/ops.h"
#include "parallel/communicator.h"
#include "parallel/error_text.h"
#include "start/choose_device.h"
#include "start/choose_products.h"
#include "start/start.h"

#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::start {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kName = "terms";

std::string arithmetic_of(const config::TrainConfig& train) {
  const std::optional<device::GpuDescription> gpu = gpu_of(train);
  return gpu ? fmt::format("GPU {}.{}", gpu->compute_major, gpu->compute_minor)
             : std::string(kernels::instruction_set());
}

// Parses what rank 0 posted, by `read`. Throws core::RunError if rank 0 would not write it in this form.
template <typename Read>
auto read_posted(const std::string& text, const Read& read) {
  try {
    return read(core::parse_json<Json>(text));
  } catch (const Json::exception&) {
    throw core::RunError("Rank 0's entry in the ranks' store is malformed, so rank 0 did not write it: {}",
                         parallel::kStrangerInStore);
  }
}

std::string text_of(const Terms& terms) {
  const Json json = {{"revision", terms.revision},
                     {"arithmetic", terms.arithmetic},
                     {"config", config::dump(terms.config)},
                     {"step", terms.step},
                     {"run_id", terms.run_id},
                     {"run_directory", terms.run_directory},
                     {"training_fingerprint", terms.training_fingerprint},
                     {"validation_fingerprint", terms.validation_fingerprint},
                     {"products", products_text(terms.products)}};
  return core::json_text(json);
}

Terms terms_of(const Json& json) {
  Terms terms;
  terms.revision = json.at("revision");
  if (terms.revision != core::git_revision()) return terms;  // the rest need not mean the same here
  terms.arithmetic = json.at("arithmetic");
  terms.config = config::parse(json.at("config").get<std::string>(), "the config of rank 0");
  terms.step = json.at("step");
  terms.run_id = json.at("run_id");
  terms.run_directory = json.at("run_directory");
  terms.training_fingerprint = json.at("training_fingerprint");
  terms.validation_fingerprint = json.at("validation_fingerprint");
  terms.products = read_products_text(json.at("products").get<std::string>());
  return terms;
}

std::string difference(const char* what, const std::string& of_rank_zero, const std::string& own) {
  const auto shown = [](const std::string& text) {
    return text.empty() ? "none" : text;
  };
  return fmt::format("{}: {} on rank 0, {} here", what, shown(of_rank_zero), shown(own));
}

}  // namespace

std::optional<run::Checkpoint> find_newest_together(parallel::Exchange& exchange,
                                                    const run::RunDirectory& directory) {
  const std::string found = exchange.from_rank_zero("newest checkpoint", [&] {
    const std::optional<run::Checkpoint> newest = checkpoint::find_newest_valid(directory);
    return newest ? Json(newest->step).dump() : "null";
  });
  const auto step = read_posted(found, [](const Json& json) {
    return json.is_null() ? std::nullopt : std::optional(json.get<int64_t>());
  });
  if (!step) return std::nullopt;
  return run::Checkpoint{.step = *step, .directory = directory.checkpoint(*step)};
}

Terms terms_of(const Start& start) {
  Terms terms{
      .revision = std::string(core::git_revision()),
      .arithmetic = {},
      .config = start.config,
      .step = start.state.step,
      .run_id = start.state.run_id,
      .run_directory = core::printable(std::filesystem::weakly_canonical(start.directory.path()).string()),
      .training_fingerprint = {},
      .validation_fingerprint = {}};
  if (start.is_complete()) return terms;  // nothing was opened, nor the device chosen
  terms.arithmetic = arithmetic_of(start.config.train);
  terms.training_fingerprint = start.data.training_fingerprint();
  terms.validation_fingerprint = start.data.validation_fingerprint();
  terms.products = start.state.products;
  return terms;
}

void post_terms(parallel::Exchange& exchange, const Terms& terms) {
  exchange.post(kName, text_of(terms));
}

Terms read_terms(parallel::Exchange& exchange) {
  const Terms terms =
      read_posted(exchange.read(kName, /*rank=*/0), [](const Json& json) { return terms_of(json); });
  if (terms.revision != core::git_revision()) {
    parallel::agree(
        exchange, kName,
        {difference("the program's revision", terms.revision, std::string(core::git_revision()))});
  }
  return terms;
}

std::string checksum_of(const Terms& terms) {
  const std::string text = text_of(terms);
  return core::checksum_of(std::as_bytes(std::span(text)));
}

std::vector<std::string> config_differences(const config::Config& of_rank_zero, const config::Config& own) {
  std::vector<std::string> lines;
  for (const config::Difference& one : config::differences(of_rank_zero, own)) {
    lines.push_back(difference(one.key.c_str(), one.before, one.after));
  }
  return lines;
}

std::vector<std::string> differences(const Terms& of_rank_zero, const Terms& own) {
  std::vector<std::string> lines = config_differences(of_rank_zero.config, own.config);
  const auto compare = [&lines](const char* what, const std::string& first, const std::string& second) {
    if (first != second) lines.push_back(difference(what, first, second));
  };
  compare("what the processor or GPU computes with", of_rank_zero.arithmetic, own.arithmetic);
  compare("the training data's fingerprint", of_rank_zero.training_fingerprint, own.training_fingerprint);
  compare("the validation data's fingerprint", of_rank_zero.validation_fingerprint,
          own.validation_fingerprint);
  compare("the run directory", of_rank_zero.run_directory, own.run_directory);
  compare("the step to start from", std::to_string(of_rank_zero.step), std::to_string(own.step));
  return lines;
}

}  // namespace ssgpt::start
