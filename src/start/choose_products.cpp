#include "start/choose_products.h"

#include "core/error.h"
#include "core/json.h"
#include "core/json_fields.h"
#include "core/log.h"
#include "core/variables.h"

#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::start {
namespace {

using kernels::ProductChoices;
using kernels::ProductShape;

constexpr const char* kWithinRounding = "the run continues within rounding, not bit for bit";

// Times of one call, summed over all measured GEMM shapes.
struct Sums {
  double seconds = 0.0, first_seconds = 0.0;
};

void log_choices(size_t chosen, size_t known, const Sums& sums, const ProductSwitches& switches) {
  if (chosen == 0) {
    core::log::info("The GEMM algorithms of {} shapes are the ones chosen before.", known);
  } else if (switches.candidate) {
    core::log::info("SSGPT_LT_CANDIDATE={}: {} GEMM shapes are computed by that proposal.",
                    *switches.candidate, chosen);
  } else {
    core::log::info(
        "train.tune_products: {} GEMM shapes measured beside other proposals of cuBLASLt; once each they "
        "take {:.2f} ms, by its first proposals {:.2f} ms.",
        chosen, 1e3 * sums.seconds, 1e3 * sums.first_seconds);
  }
}

// Drops shapes that are not needed. Throws if the library does not support the stored algorithm of a needed
// one.
void keep_needed(const std::map<ProductShape, bool>& needed, const std::string& origin,
                 ProductChooser& chooser, ProductChoices& choices) {
  std::erase_if(choices.algorithms, [&](const auto& one) { return !needed.contains(one.first); });
  for (const auto& [shape, algorithm] : choices.algorithms) {
    if (chooser.takes(shape, algorithm, choice_terms(shape, choices.workspace_bytes))) continue;
    throw core::InputError(
        "{}: {} does not support the algorithm stored for the GEMM {}, so the stored choices are "
        "damaged. To continue without them, within rounding, set train.tune_products=false.",
        origin, to_string(choices.library), to_string(shape));
  }
}

}  // namespace

ProductSwitches read_product_switches() {
  constexpr int64_t kMostCandidates = 64;
  constexpr int64_t kMostMiB = 1024;
  ProductSwitches switches;
  const auto read = [&switches](const char* name, int64_t least, int64_t most) {
    const std::optional<int64_t> value = core::find_number_variable(name, least, most);
    if (value) switches.set.emplace_back(name);
    return value;
  };
  switches.candidate = read("SSGPT_LT_CANDIDATE", 1, kMostCandidates);
  if (const auto mask = read("SSGPT_LT_MASK", 0, kernels::kReduceAnyhow))
    switches.fp32_reductions = static_cast<uint32_t>(*mask);
  if (const auto mib = read("SSGPT_LT_WORKSPACE_MIB", 1, kMostMiB)) switches.workspace_bytes = *mib << 20;
  return switches;
}

bool chooses_products(const config::TrainConfig& train) {
  return train.device == config::Device::kCuda && train.tune_products && !train.deterministic;
}

ProductChoices settle_products(const std::map<ProductShape, bool>& needed,
                               const std::optional<ProductChoices>& held, const std::string& origin,
                               const ProductSwitches& switches, ProductChooser& chooser) {
  ProductChoices choices{
      .library = chooser.library(), .workspace_bytes = switches.workspace_bytes, .algorithms = {}};
  const bool same_library = held && held->library == choices.library;
  if (same_library) {
    choices = *held;
    keep_needed(needed, origin, chooser, choices);
    if (!switches.set.empty()) {
      core::log::warning("{} does not affect the GEMMs for which {} holds choices.",
                         fmt::join(switches.set, ", "), origin);
    }
  } else if (held) {
    core::log::warning(
        "The GEMM algorithms of {} were chosen for {}, and this is {}: they are chosen anew; {}.", origin,
        to_string(held->library), to_string(choices.library), kWithinRounding);
  }
  const size_t known = choices.algorithms.size();
  Sums sums;
  for (const auto& [shape, accumulate] : needed) {
    if (choices.algorithms.contains(shape)) continue;
    const kernels::ProductTerms terms =
        choice_terms(shape, choices.workspace_bytes, switches.fp32_reductions);
    try {
      const ProductChooser::Choice choice = chooser.choose(shape, accumulate, terms, switches.candidate);
      core::log::debug("GEMM {}: {}.", to_string(shape), choice.description);
      choices.algorithms.emplace(shape, choice.algorithm);
      sums.seconds += choice.seconds;
      sums.first_seconds += choice.first_seconds;
    } catch (const core::RunError& error) {
      core::log::warning("train.tune_products: the GEMM {} keeps cuBLASLt's first proposal: {}",
                         to_string(shape), error.what());
    }
  }
  log_choices(choices.algorithms.size() - known, known, sums, switches);
  return choices;
}

std::vector<std::string> product_differences(const ProductChoices& of_rank_zero, ProductChooser& chooser) {
  const kernels::ProductLibrary own = chooser.library();
  const char* remedy = "train.tune_products=false does without";
  if (own != of_rank_zero.library) {
    return {fmt::format("the library and GPU of the GEMM algorithms: {} on rank 0, {} here ({})",
                        to_string(of_rank_zero.library), to_string(own), remedy)};
  }
  std::vector<std::string> lines;
  for (const auto& [shape, algorithm] : of_rank_zero.algorithms) {
    if (chooser.takes(shape, algorithm, choice_terms(shape, of_rank_zero.workspace_bytes))) continue;
    lines.push_back(fmt::format("the GEMM {}: the algorithm of rank 0 is not supported here ({})",
                                to_string(shape), remedy));
  }
  return lines;
}

void warn_of_ignored_choices(const config::TrainConfig& train, const std::string& origin) {
  const char* why = "train.tune_products = false";
  if (train.deterministic) why = "train.deterministic = true";
  if (train.device != config::Device::kCuda) why = "train.device = cpu";
  core::log::warning(
      "{} was trained with GEMM algorithms chosen by measurement, and this run, with {}, uses others: {}.",
      origin, why, kWithinRounding);
}

std::string products_text(const std::optional<ProductChoices>& choices) {
  return choices ? core::json_text(to_json(*choices)) : "";
}

std::optional<ProductChoices> read_products_text(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const core::JsonFields fields("rank 0's GEMM algorithms", core::parse_json<nlohmann::json>(text));
  return kernels::read_product_choices(fields);
}

}  // namespace ssgpt::start
