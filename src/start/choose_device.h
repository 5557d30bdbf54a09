// Where, in which precision and with whose attention a run computes, chosen once and stored with the run.
#pragma once

#include "config/config.h"
#include "device/gpu.h"
#include "model/gpt.h"
#include "parallel/communicator.h"
#include "parallel/environment.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

// What rules alone make of train.device, train.dtype and train.attention_backend where they are auto. What is
// auto still is decided by time: on a CPU the dtype (dtype_of_cpu); on a GPU the backend, which is then
// cuDNN's or flash. On a CPU the backend stays as it is. Throws core::UsageError where no backend can compute
// the config on a GPU.
config::TrainConfig choose_by_rules(const config::Config& config, bool has_gpu);

// Runs `seconds` for each candidate and returns the one that took the least, with a log line that has all
// figures; one that throws is left out, with a warning that says why. Throws core::RunError where all do.
config::AttentionBackend fastest_backend(const std::vector<config::AttentionBackend>& candidates,
                                         const std::function<double(config::AttentionBackend)>& seconds);

// Whether bfloat16 is worth its rounding on a CPU, by the speeds of the same work in both: where it is faster
// by a tenth or more; a smaller gain may be the chance of a measurement.
bool bfloat16_is_worth_it(double float32_speed, double bfloat16_speed);

// What train.dtype: auto is on a CPU, with a log line that says why. `instructions`:
// device::bf16_instructions(). Where it is an empty list, float32, and nothing is measured, since bfloat16
// would be emulated; else `speed` is asked for both dtypes, in tokens/s, and bfloat16_is_worth_it decides.
config::Dtype dtype_of_cpu(const std::optional<std::vector<std::string>>& instructions,
                           const std::function<double(config::Dtype)>& speed);

// Makes the GPU of this process, that of its local rank, the current one of this thread, and logs which it
// is; matrix products are computed as cuBLASLt proposes until others are chosen (choose_products.h). Throws
// core::UsageError where there is none that this process can use.
void take_own_gpu(const parallel::Environment& environment, bool deterministic);

// Does to `config` what choose_by_rules says. Where that is a GPU, makes that of this process, of its local
// rank, the current one.
void resolve_by_rules(config::Config& config, const parallel::Environment& environment = {});

// The same, and what no rule decides is measured on one layer of this model, in well under two seconds, and
// logged.
void choose_device(config::Config& config, const parallel::Environment& environment = {});

// What another rank chose, here: each takes its own GPU.
void take_choices(config::Config& config, const config::TrainConfig& chosen,
                  const parallel::Environment& environment);

// Floating-point operations a second of a large matrix product in the compute dtype, as the model computes
// its own, the best of some.
double measure_peak_flops(const model::Execution& execution);
// The same, or 0 where a GPU that a training fills has no memory left for the product.
double measure_peak_flops_if_room(const model::Execution& execution);

// Whether a training of so many floating-point operations is worth the time that a measurement takes.
bool is_worth_measuring(double flops, at::Device device);

// What the spec sheets promise of the GPUs of all ranks together, FLOP/s; none on a CPU, or where a rank has
// a GPU that is not known. Device and dtype are resolved. All ranks, with the communicator open.
std::optional<double> spec_sheet_flops(const config::TrainConfig& train,
                                       parallel::Communicator& communicator);

// That the run computes on: the current one of this thread; none on a CPU.
std::optional<device::GpuDescription> gpu_of(const config::TrainConfig& train);

// For a config whose device and dtype are not auto. A GPU is the current one of this thread.
model::Execution execution_of(const config::TrainConfig& train);

}  // namespace ssgpt::start
