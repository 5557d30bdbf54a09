// A block's weights and gradients as views of the flat tensors.
#pragma once

#include "config/config.h"
#include "model/block.h"
#include "model/parameters.h"

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// Views of layer `layer`, which follow every change of the parameters. position_table: make_position_table up
// to the largest n that the row scale is used with; a learned p_n is read from the parameters instead. The
// row scale reads the fp32 master whatever the compute dtype.
BlockWeights bind_block_weights(const ParameterStore& store, const config::ModelConfig& config, int64_t layer,
                                const at::Tensor& position_table);

// Views of the gradients of the same parameters.
BlockGradients bind_block_gradients(const ParameterStore& store, const config::ModelConfig& config,
                                    int64_t layer);

}  // namespace ssgpt::model
