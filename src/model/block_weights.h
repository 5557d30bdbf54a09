// The weights of a block as views of the parameters, for computing with them.
#pragma once

#include "config/config.h"
#include "model/block.h"
#include "model/parameters.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Views of layer `layer`, which follow every change of the parameters. log_table: fp32, log n for every n
// that the row scale will be asked for; a learned p_n is read from the parameters instead. The row scale
// reads the fp32 master whatever the compute dtype.
BlockWeights bind_block_weights(const ParameterStore& store, const config::ModelConfig& config, int64_t layer,
                                const at::Tensor& log_table);

}  // namespace ssgpt::model
