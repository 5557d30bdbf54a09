// Which of cuBLASLt's algorithms a run on a GPU uses for its GEMMs: measured once, stored in its checkpoints,
// and reused on resume, so that the run continues bit for bit.
#pragma once

#include "config/config.h"
#include "kernels/product_choices.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

// Environment variables that control how algorithms are chosen, for measurements on a GPU.
struct ProductSwitches {
  std::optional<int64_t> candidate = {};  // SSGPT_LT_CANDIDATE: use this proposal, from 1, unmeasured
  uint32_t fp32_reductions = kernels::kReduceAnyhow;  // SSGPT_LT_MASK: for GEMMs with fp32 outputs
  int64_t workspace_bytes = kernels::ProductTerms().workspace_bytes;  // SSGPT_LT_WORKSPACE_MIB
  std::vector<std::string> set = {};                                  // names of the variables that are set
};
// Throws core::UsageError for an invalid value.
ProductSwitches read_product_switches();

// The interface to cuBLASLt; tests substitute another.
class ProductChooser {
 public:
  struct Choice {
    kernels::ProductAlgorithm algorithm{};
    double seconds = 0.0;        // of one call; 0: not measured
    double first_seconds = 0.0;  // of cuBLASLt's first proposal
    std::string description;
  };
  virtual ~ProductChooser() = default;
  virtual kernels::ProductLibrary library() = 0;
  // Whether the library on this GPU supports the algorithm for the shape, under these terms.
  virtual bool takes(const kernels::ProductShape& shape, const kernels::ProductAlgorithm& algorithm,
                     const kernels::ProductTerms& terms) = 0;
  // `accumulate`: measure a GEMM that adds to its output. `candidate`: use that proposal without measuring.
  // Throws core::RunError if no algorithm computes the GEMM.
  virtual Choice choose(const kernels::ProductShape& shape, bool accumulate,
                        const kernels::ProductTerms& terms, std::optional<int64_t> candidate) = 0;
};

// Whether a run with this config, whose device is resolved, chooses its GEMM algorithms.
bool chooses_products(const config::TrainConfig& train);

// Returns the choices of a run that needs these shapes (and whether they accumulate). Choices in `held`, from
// the checkpoint named `origin`, are kept if they were made for the same library on the same kind of GPU, and
// only the remaining shapes are chosen now, which is logged. Otherwise all are chosen anew, with a warning
// that the run continues within rounding. A shape for which no algorithm works is left to cuBLASLt, with a
// warning. Throws core::InputError if the library does not support a held choice.
kernels::ProductChoices settle_products(const std::map<kernels::ProductShape, bool>& needed,
                                        const std::optional<kernels::ProductChoices>& held,
                                        const std::string& origin, const ProductSwitches& switches,
                                        ProductChooser& chooser);

// Where this rank's library and GPU differ from those of rank 0's choices, or do not support them: one line
// per difference, empty if there is none.
std::vector<std::string> product_differences(const kernels::ProductChoices& of_rank_zero,
                                             ProductChooser& chooser);

// The GEMMs of a training step with this config on so many ranks, and whether they accumulate in most of its
// micro-batches, found by running one layer and the head in the run's shape. Meanwhile it occupies the memory
// of such a step on the device of `config`.
std::map<kernels::ProductShape, bool> products_of_a_step(const config::Config& config, int64_t num_ranks);

// Returns the choices for a run that trains with this config on so many ranks (settle_products), made on the
// current GPU, and applies them in this process from now on; nullopt if the config asks for none, with a
// warning if `held` is thereby ignored.
std::optional<kernels::ProductChoices> choose_products(const config::Config& config, int64_t num_ranks,
                                                       const std::optional<kernels::ProductChoices>& held,
                                                       const std::string& origin);

// On ranks other than 0: applies rank 0's choices in this process, and returns product_differences().
std::vector<std::string> take_products(const std::optional<kernels::ProductChoices>& of_rank_zero);

// Warns that a run continues from `origin` without the choices stored there.
void warn_of_ignored_choices(const config::TrainConfig& train, const std::string& origin);

// JSON for the other ranks; empty without choices.
std::string products_text(const std::optional<kernels::ProductChoices>& choices);
std::optional<kernels::ProductChoices> read_products_text(const std::string& text);

}  // namespace ssgpt::start
