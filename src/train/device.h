// Where and in which precision a run computes, chosen once and stored with the run.
#pragma once

#include "config/config.h"
#include "model/gpt.h"
#include "parallel/board.h"

namespace ssgpt::train {

// Sets train.device and train.dtype where they are auto: the CPU; fp32 or bf16, whichever trains one layer of
// this model faster on this machine, which is measured in well under a second and logged.
void resolve_device_and_dtype(config::Config& config);

// The same on all ranks: rank 0 measures, and all do as it says.
void resolve_together(config::Config& config, parallel::Board& board);

// Floating-point operations a second of a large matrix product in the compute dtype, as the model computes
// its own, the best in a tenth of a second: what the MFU is a share of.
double measure_peak_flops(const model::Execution& execution);

// For a config in which neither is auto.
model::Execution execution_of(const config::TrainConfig& train);

}  // namespace ssgpt::train
