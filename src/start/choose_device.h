// The device, the precision and the attention backend of a run, chosen once and stored with the run.
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

// Resolves train.device, train.dtype and train.attention_backend by rules where they are auto. What is still
// auto in the result has to be measured: on a CPU the dtype (dtype_of_cpu); on a GPU the backend, which is
// then cuDNN or flash. On a CPU the backend is left as it is. Throws core::UsageError if no backend can
// compute the config on a GPU.
config::TrainConfig choose_by_rules(const config::Config& config, bool has_gpu);

// Calls `seconds` for each candidate and returns the fastest, with a log line that shows all times; a
// candidate that throws is left out, with a warning that says why. Throws core::RunError if all of them do.
config::AttentionBackend fastest_backend(const std::vector<config::AttentionBackend>& candidates,
                                         const std::function<double(config::AttentionBackend)>& seconds);

// Whether bfloat16 is worth its rounding on a CPU, given the speeds of the same work in both dtypes: if it is
// at least a tenth faster, since a smaller gain may be measurement noise.
bool bfloat16_is_worth_it(double float32_speed, double bfloat16_speed);

// Resolves train.dtype: auto on a CPU, with a log line that says why. `instructions`:
// device::bf16_instructions(). If that is an empty list, the result is float32 and nothing is measured, since
// bfloat16 would be emulated; otherwise `speed`, in tokens/s, is called for both dtypes, and
// bfloat16_is_worth_it decides.
config::Dtype dtype_of_cpu(const std::optional<std::vector<std::string>>& instructions,
                           const std::function<double(config::Dtype)>& speed);

// Makes this process's GPU, given by its local rank, the current one of this thread, and logs which it is.
// GEMMs use cuBLASLt's first proposals until algorithms are chosen (choose_products.h). Throws
// core::UsageError if there is no GPU that this process can use.
void take_own_gpu(const parallel::Environment& environment, bool deterministic);

// Applies choose_by_rules to `config`. If the result is a GPU, makes this process's, given by its local rank,
// the current one.
void resolve_by_rules(config::Config& config, const parallel::Environment& environment = {});

// The same, and measures what no rule decides on one layer of this model, in well under two seconds, logging
// the result.
void choose_device(config::Config& config, const parallel::Environment& environment = {});

// Applies another rank's choices to `config`; each rank takes its own GPU.
void take_choices(config::Config& config, const config::TrainConfig& chosen,
                  const parallel::Environment& environment);

// Measured FLOP/s of a large GEMM in the compute dtype, computed like the model's own; the best of several
// runs.
double measure_peak_flops(const model::Execution& execution);
// The same, or 0 if training has left no GPU memory for the GEMM.
double measure_peak_flops_if_room(const model::Execution& execution);

// Whether a training of `flops` floating-point operations is long enough to be worth the measurement.
bool is_worth_measuring(double flops, at::Device device);

// Peak FLOP/s by the spec sheets of all ranks' GPUs together; nullopt on a CPU, or if some rank's GPU is
// unknown. Device and dtype must be resolved. Called on all ranks, with the communicator open.
std::optional<double> spec_sheet_flops(const config::TrainConfig& train,
                                       parallel::Communicator& communicator);

// The GPU that the run computes on: this thread's current device; nullopt on a CPU.
std::optional<device::GpuDescription> gpu_of(const config::TrainConfig& train);

// Requires a config whose device and dtype are not auto. A GPU is this thread's current one.
model::Execution execution_of(const config::TrainConfig& train);

}  // namespace ssgpt::start
