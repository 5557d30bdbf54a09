#include "model/head.h"

#include "core/round_up.h"
#include "core/variables.h"
#include "device/gpu.h"
#include "kernels/ops.h"
#include "model/work.h"

#include <algorithm>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>

namespace ssgpt::model {
namespace {

// One below 2^31, because a library may count elements in int32.
constexpr uint64_t kMostGpuElements = (uint64_t{1} << 31) - 1;
constexpr uint64_t kLeastGpuElements = uint64_t{1} << 29;

int64_t chunk_elements_on_gpu(at::Device device, at::ScalarType dtype) {
  const auto log2 = core::find_number_variable("SSGPT_HEAD_CHUNK_LOG2", 20, 31);
  if (log2) return std::min(int64_t{1} << *log2, static_cast<int64_t>(kMostGpuElements));
  // A GPU config may be described on a machine without a GPU.
  const bool is_there = device.is_cuda() && device::count_gpus().count > 0;
  return is_there ? gpu_logits_chunk_elements(device::current_gpu().memory_bytes, dtype)
                  : static_cast<int64_t>(kMostGpuElements);
}

// Calls body(first_row, rows, the logits of these rows) for each chunk.
template <typename Body>
void for_chunks(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& logits, const Body& body) {
  for (int64_t first = 0; first < x.size(0); first += logits.size(0)) {
    const int64_t rows = std::min(logits.size(0), x.size(0) - first);
    const at::Tensor chunk = logits.narrow(0, 0, rows);
    linear_forward(x.narrow(0, first, rows), weight, chunk, "logits GEMM");
    body(first, rows, chunk);
  }
}

// Takes the target's logit out of each row and compares it with the largest of the rest: `amax` propagates
// NaN, and every comparison with NaN is false.   logits: data (R, V), contents lost.  targets: int64 (R).
at::Tensor is_strict_maximum(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor index = targets.clamp(0, logits.size(1) - 1).unsqueeze(1);
  const at::Tensor chosen = logits.gather(1, index).squeeze(1);
  logits.scatter_(1, index, -std::numeric_limits<double>::infinity());
  return (chosen > at::amax(logits, 1)) & (targets >= 0);
}

}  // namespace

int64_t vocabulary_multiple(at::Device device) {
  return device.is_cpu() ? 1 : 128;
}

int64_t padded_vocab_size(at::Device device, int64_t vocab_size) {
  return core::round_up(vocab_size, vocabulary_multiple(device));
}

int64_t gpu_logits_chunk_elements(uint64_t memory_bytes, at::ScalarType dtype) {
  constexpr uint64_t kShare = 16;
  const uint64_t elements = memory_bytes / kShare / c10::elementSize(dtype);
  return static_cast<int64_t>(std::clamp(elements, kLeastGpuElements, kMostGpuElements));
}

int64_t logits_chunk_rows(at::Device device, at::ScalarType dtype, int64_t rows, int64_t vocab_size) {
  constexpr int64_t kLeastRows = 512;
  if (device.is_cpu()) {
    constexpr int64_t kElements = int64_t{1} << 22;
    return std::min(rows, std::max(kLeastRows, kElements / vocab_size));
  }
  constexpr int64_t kTile = 128;  // tile size of a GEMM, so that its blocks are full
  const int64_t wanted = chunk_elements_on_gpu(device, dtype) / vocab_size;
  const int64_t most = std::max(kLeastRows, wanted / kTile * kTile);
  const int64_t chunks = (rows + most - 1) / most;
  return std::min(rows, core::round_up((rows + chunks - 1) / chunks, kTile));
}

void head_forward_backward(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight,
                           int64_t vocab_size, const at::Tensor& losses, const at::Tensor& d_x,
                           const at::Tensor& d_weight, GradientMode mode, const at::Tensor& logits,
                           const at::Tensor& scratch) {
  for_chunks(x, weight, logits, [&](int64_t first, int64_t rows, const at::Tensor& chunk) {
    {
      const core::ProfileScope scope("cross-entropy", traffic(chunk, chunk));
      kernels::cross_entropy_forward_backward(chunk, targets.narrow(0, first, rows), vocab_size,
                                              losses.narrow(0, first, rows));
    }
    linear_backward_input(chunk, weight, d_x.narrow(0, first, rows), "logits input gradient");
    linear_backward_weight(chunk, x.narrow(0, first, rows), d_weight, first == 0 ? mode : GradientMode::kAdd,
                           scratch, "logits weight gradient");
  });
}

void head_forward(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight,
                  int64_t vocab_size, const at::Tensor& losses, const at::Tensor& logits) {
  for_chunks(x, weight, logits, [&](int64_t first, int64_t rows, const at::Tensor& chunk) {
    const core::ProfileScope scope("cross-entropy", traffic(chunk));
    kernels::cross_entropy_forward(chunk, targets.narrow(0, first, rows), vocab_size,
                                   losses.narrow(0, first, rows));
  });
}

void head_scores(const at::Tensor& x, const at::Tensor& targets, const at::Tensor& weight, int64_t vocab_size,
                 const at::Tensor& losses, const at::Tensor& correct, const at::Tensor& logits) {
  for_chunks(x, weight, logits, [&](int64_t first, int64_t rows, const at::Tensor& chunk) {
    const core::ProfileScope scope("cross-entropy", traffic(chunk, chunk));
    const at::Tensor chunk_targets = targets.narrow(0, first, rows);
    kernels::cross_entropy_forward(chunk, chunk_targets, vocab_size, losses.narrow(0, first, rows));
    correct.narrow(0, first, rows).copy_(is_strict_maximum(chunk.narrow(1, 0, vocab_size), chunk_targets));
  });
}

}  // namespace ssgpt::model
