// The operations that ssgpt bench kernels measures, each with its plain counterpart.
#pragma once

#include "core/profile.h"
#include "model/gpt.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

// Sizes of a model's operations: layers, B, T, D, N, F, V as in kernels/ops.h, and elements of the flat
// tensors.
struct KernelShape {
  std::string name;
  int64_t layers, batch, time, hidden, heads, ff, vocab, flat;
  int64_t rows() const { return batch * time; }
  int64_t head_dim() const { return hidden / heads; }
};
const std::vector<KernelShape>& kernel_shapes(at::Device device);

// An operation on tensors of its own, on the device and of the dtype that it was prepared for. On a GPU a
// call queues the work and does not wait for it. Both sides return the result, or one of them, which the next
// call may overwrite. The fused side may work in place on what the plain side reads.
struct KernelRun {
  core::Work work;                    // of one call
  std::function<at::Tensor()> fused;  // of kernels/ops.h
  // The same mathematics in ATen operations, as a program of ATen would write it.
  std::function<at::Tensor()> plain;
};

struct KernelCase {
  std::string name;
  std::function<KernelRun(const KernelShape&, const model::Execution&)> prepare;
  bool only_fp32_on_cpu = false;
};
const std::vector<KernelCase>& kernel_cases();
bool can_run(const KernelCase& one, const model::Execution& execution);

}  // namespace ssgpt::bench
