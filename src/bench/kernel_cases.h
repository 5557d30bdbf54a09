// Operations measured by ssgpt bench kernels, each with its plain counterpart.
#pragma once

#include "core/profile.h"
#include "model/gpt.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

// Sizes of a model's operations: layers, B, T, D, N, F, V as in kernels/ops.h, and the number of elements of
// the flat tensors.
struct KernelShape {
  std::string name;
  int64_t layers, batch, time, hidden, heads, ff, vocab, flat;
  int64_t rows() const { return batch * time; }
  int64_t head_dim() const { return hidden / heads; }
};
const std::vector<KernelShape>& kernel_shapes(at::Device device);

// An operation on its own tensors, prepared for one device and dtype. On a GPU a call queues the work without
// waiting. Both sides return (one of) their results, which the next call may overwrite. The fused side may
// work in place on the plain side's inputs.
struct KernelRun {
  core::Work work;                    // per call
  std::function<at::Tensor()> fused;  // the function of kernels/ops.h
  // The same computation in ATen operations, as a program based on ATen would write it.
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
