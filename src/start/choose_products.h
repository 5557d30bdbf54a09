// By which of cuBLASLt's algorithms a run on a GPU computes its matrix products: measured once, stored in its
// checkpoints, and used again on resume, so that it continues bit for bit.
#pragma once

#include "config/config.h"
#include "kernels/product_choices.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

// What the environment asks of a run that chooses, for measurements on a GPU.
struct ProductSwitches {
  std::optional<int64_t> candidate = {};              // SSGPT_LT_CANDIDATE: this one, from 1, unmeasured
  uint32_t fp32_reductions = kernels::kReduceAnyhow;  // SSGPT_LT_MASK: of products with fp32 outputs
  int64_t workspace_bytes = kernels::ProductTerms().workspace_bytes;  // SSGPT_LT_WORKSPACE_MIB
  std::vector<std::string> set = {};                                  // the names of those that are set
};
// Throws core::UsageError for a value that is not allowed.
ProductSwitches read_product_switches();

// What the program asks of cuBLASLt; another in tests.
class ProductChooser {
 public:
  struct Choice {
    kernels::ProductAlgorithm algorithm{};
    double seconds = 0.0;        // of a call; 0: not measured
    double first_seconds = 0.0;  // of what cuBLASLt proposes first
    std::string description;
  };
  virtual ~ProductChooser() = default;
  virtual kernels::ProductLibrary library() = 0;
  // Whether the library on this GPU computes the shape by this algorithm, under these terms.
  virtual bool takes(const kernels::ProductShape& shape, const kernels::ProductAlgorithm& algorithm,
                     const kernels::ProductTerms& terms) = 0;
  // `accumulate`: measured with a product that is added to what is there. `candidate`: not measured, that
  // proposal. Throws core::RunError where none computes the product.
  virtual Choice choose(const kernels::ProductShape& shape, bool accumulate,
                        const kernels::ProductTerms& terms, std::optional<int64_t> candidate) = 0;
};

// Whether a run of this config, whose device is chosen, computes its products by choices.
bool chooses_products(const config::TrainConfig& train);

// The choices of a run that needs these shapes (and whether they accumulate). What `held` says of them, from
// the checkpoint of which `origin` is the name, stays where it was made by the same library on the same kind
// of GPU; all others are chosen now, which is logged. Where it was not, all are, with a warning that the run
// continues within rounding. A product that none computes is left to cuBLASLt, with a warning. Throws
// core::InputError where the library does not take what is held for it.
kernels::ProductChoices settle_products(const std::map<kernels::ProductShape, bool>& needed,
                                        const std::optional<kernels::ProductChoices>& held,
                                        const std::string& origin, const ProductSwitches& switches,
                                        ProductChooser& chooser);

// How this rank's library and GPU are not those of rank 0's choices, or do not take them: a line for each,
// none where all is alike.
std::vector<std::string> product_differences(const kernels::ProductChoices& of_rank_zero,
                                             ProductChooser& chooser);

// The products of a training step of this config, by one layer and the head in the run's shape. Takes the
// memory of such a step on the device of `config` for as long.
std::map<kernels::ProductShape, bool> products_of_a_step(const config::Config& config);

// The choices of a run that trains with this config (settle_products), on the current GPU, from now on in
// force in this process; none, with a warning where `held` gives way, where the config wants none.
std::optional<kernels::ProductChoices> choose_products(const config::Config& config,
                                                       const std::optional<kernels::ProductChoices>& held,
                                                       const std::string& origin);

// On another rank than 0: makes what that chose hold in this process, and returns product_differences().
std::vector<std::string> take_products(const std::optional<kernels::ProductChoices>& of_rank_zero);

// Warns that a run goes on from `origin` without the choices that it holds.
void tell_what_gives_way(const config::TrainConfig& train, const std::string& origin);

// For other ranks: as JSON; empty where there are none.
std::string products_text(const std::optional<kernels::ProductChoices>& choices);
std::optional<kernels::ProductChoices> read_products_text(const std::string& text);

}  // namespace ssgpt::start
