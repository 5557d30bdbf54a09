// choose_products.h on the GPU itself.
#include "core/error.h"
#include "device/gpu.h"
#include "kernels/product_of.h"
#include "model/gpt.h"
#include "model/product_tuning.h"
#include "start/choose_device.h"
#include "start/choose_products.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

namespace ssgpt::start {
namespace {

using kernels::ProductChoices;
using kernels::ProductShape;

class CublasLt : public ProductChooser {
 public:
  explicit CublasLt(at::Device device) : device_(device) {}

  kernels::ProductLibrary library() override { return kernels::cuda::product_library(); }

  bool takes(const ProductShape& shape, const kernels::ProductAlgorithm& algorithm,
             const kernels::ProductTerms& terms) override {
    return kernels::cuda::make_plan(shape, algorithm, terms) != nullptr;
  }

  Choice choose(const ProductShape& shape, bool accumulate, const kernels::ProductTerms& terms,
                std::optional<int64_t> candidate) override {
    if (candidate) return choice_of(model::take_proposal(shape, terms, static_cast<size_t>(*candidate)));
    try {
      return choice_of(measure(shape, accumulate, terms));
    } catch (const c10::OutOfMemoryError&) {
      throw core::RunError("the GPU has no memory left to measure it.");
    }
  }

 private:
  model::TunedProduct measure(const ProductShape& shape, bool accumulate,
                              const kernels::ProductTerms& terms) const {
    const model::ProductOperands operands = model::make_product_operands(shape, device_);
    const at::Tensor workspace =
        at::empty({terms.workspace_bytes}, at::TensorOptions(device_).dtype(at::kByte));
    kernels::cuda::Product product = kernels::product_of(operands.a, operands.b, accumulate, operands.out);
    product.shape = shape;  // its alignment may be lower than the operands'
    return model::tune_product(product, terms, model::kTunedProposals, workspace.data_ptr(), device_);
  }

  static Choice choice_of(const model::TunedProduct& tuned) {
    return {.algorithm = tuned.algorithm,
            .seconds = tuned.seconds,
            .first_seconds = tuned.first_seconds,
            .description = to_string(tuned)};
  }

  const at::Device device_;
};

}  // namespace

std::map<ProductShape, bool> products_of_a_step(const config::Config& config, int64_t num_ranks) {
  model::GPTSpec spec{
      .config = config.model, .sequence_length = config.data.sequence_length, .document_token_id = {}};
  spec.config.num_hidden_layers = 1;  // the other layers need the same
  const model::Execution execution = execution_of(config.train);
  std::map<ProductShape, bool> shapes;
  {
    model::GPT model(spec, execution);
    const at::Tensor tokens = at::zeros({config.train.micro_batch_size, spec.sequence_length},
                                        at::TensorOptions().dtype(at::kLong));
    const at::Tensor loss_sum = at::zeros({1}, at::TensorOptions(execution.device).dtype(at::kDouble));
    const kernels::ProductRecorder recorder;
    // The first micro-batch of a step overwrites the gradient, and the others add to it.
    const bool is_alone = config.train.global_batch_size <= config.train.micro_batch_size * num_ranks;
    model.forward_backward(tokens, tokens, loss_sum, /*gradient_final=*/nullptr, /*num_keys=*/{},
                           is_alone ? model::GradientMode::kOverwrite : model::GradientMode::kAdd);
    shapes = recorder.shapes();
  }
  device::release_cached_memory(execution.device);
  return shapes;
}

std::optional<ProductChoices> choose_products(const config::Config& config, int64_t num_ranks,
                                              const std::optional<ProductChoices>& held,
                                              const std::string& origin) {
  if (!chooses_products(config.train)) {
    if (held) warn_of_ignored_choices(config.train, origin);
    return std::nullopt;
  }
  const at::Device device = execution_of(config.train).device;
  const ProductSwitches switches = read_product_switches();
  CublasLt chooser(device);
  const ProductChoices choices =
      settle_products(products_of_a_step(config, num_ranks), held, origin, switches, chooser);
  device::release_cached_memory(device);  // the model's allocations have other sizes
  kernels::cuda::use_choices(choices);
  return choices;
}

std::vector<std::string> take_products(const std::optional<ProductChoices>& of_rank_zero) {
  if (!of_rank_zero) return {};
  CublasLt chooser(at::kCUDA);
  std::vector<std::string> lines = product_differences(*of_rank_zero, chooser);
  if (lines.empty()) kernels::cuda::use_choices(of_rank_zero);
  return lines;
}

}  // namespace ssgpt::start
