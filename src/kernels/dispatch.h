// From the tensors of ops.h to the CPU loops and the CUDA kernels: contract checks, dispatch by dtype, and
// the split of rows over threads.
#pragma once

#include "core/check.h"
#include "kernels/cpu/table.h"
#include "kernels/cuda/table.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <fmt/ranges.h>

namespace ssgpt::kernels {

// Checks that `tensor` is dense, on this device, and has this dtype and shape.
inline void check_tensor(const at::Tensor& tensor, const char* name, at::ScalarType dtype,
                         at::IntArrayRef shape, at::Device device = at::kCPU) {
  SSGPT_CHECK(tensor.defined(), "{} is undefined", name);
  SSGPT_CHECK(tensor.device() == device, "{} is on {}, expected {}", name, tensor.device().str(),
              device.str());
  SSGPT_CHECK(tensor.scalar_type() == dtype, "{} has dtype {}, expected {}", name,
              c10::toString(tensor.scalar_type()), c10::toString(dtype));
  SSGPT_CHECK(tensor.sizes() == shape, "{} has shape [{}], expected [{}]", name,
              fmt::join(tensor.sizes(), ", "), fmt::join(shape, ", "));
  SSGPT_CHECK(tensor.is_contiguous(), "{} is not contiguous", name);
}

// Checks that the tensors are 16-byte aligned, as the vector accesses of the CUDA kernels require.
template <typename... Tensors>
void check_vectors(const Tensors&... tensors) {
  const auto check = [](const at::Tensor& tensor) {
    constexpr uintptr_t kVectorBytes = 16;
    SSGPT_CHECK(reinterpret_cast<uintptr_t>(tensor.data_ptr()) % kVectorBytes == 0,
                "a tensor of shape [{}] does not begin at a multiple of {} bytes",
                fmt::join(tensor.sizes(), ", "), kVectorBytes);
  };
  (check(tensors), ...);
}

template <typename T>
T* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

// Calls body(loops) with the loops for this dtype; decltype(loops)::Data is the element type.
template <typename Body>
void with_loops(at::ScalarType data_type, const Body& body) {
  if (data_type == at::kFloat) {
    body(cpu::table().fp32);
  } else {
    SSGPT_CHECK(data_type == at::kBFloat16, "data of dtype {}", c10::toString(data_type));
    body(cpu::table().bf16);
  }
}

// Calls body(kernels, stream) with the CUDA kernels for this dtype and the current stream.
template <typename Body>
void with_kernels(at::ScalarType data_type, const Body& body) {
  if (data_type == at::kFloat) {
    body(cuda::table().fp32, cuda::current_stream());
  } else {
    SSGPT_CHECK(data_type == at::kBFloat16, "data of dtype {}", c10::toString(data_type));
    body(cuda::table().bf16, cuda::current_stream());
  }
}

// The element type of loops or kernels.
template <typename Loops>
using DataOf = typename std::decay_t<Loops>::Data;

// The only choice between GPU and CPU: calls on_gpu() or on_cpu() and returns its result.
template <typename OnGpu, typename OnCpu>
auto dispatch(at::Device device, const OnGpu& on_gpu, const OnCpu& on_cpu) {
  return device.is_cuda() ? on_gpu() : on_cpu();
}

// Likewise by the device and dtype of `data`: on_gpu(kernels, stream) as in with_kernels, or on_cpu(loops) as
// in with_loops.
template <typename OnGpu, typename OnCpu>
void dispatch(const at::Tensor& data, const OnGpu& on_gpu, const OnCpu& on_cpu) {
  const at::ScalarType type = data.scalar_type();
  dispatch(
      data.device(), [&] { with_kernels(type, on_gpu); }, [&] { with_loops(type, on_cpu); });
}

// total += the partial sums of all chunks of rows, in order.   partials: (chunks, width).
inline void add_chunks(const float* partials, int64_t chunks, int64_t width, float* total) {
  for (int64_t chunk = 0; chunk < chunks; ++chunk, partials += width) {
    for (int64_t i = 0; i < width; ++i) total[i] += partials[i];
  }
}

// Runs body(begin, end) over parts of [0, rows), each of at least about 16,384 elements: below that, waking a
// thread costs more than it saves.
template <typename Body>
void for_rows(int64_t rows, int64_t row_elements, const Body& body) {
  constexpr int64_t kGrainElements = 16384;
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrainElements / std::max<int64_t>(1, row_elements)), body);
}

// Likewise for [0, count), where each item is `products` multiply-adds with operands that are read once. A
// thread gets at least about a hundred microseconds of work: decoding a token is a chain of such calls, and
// if another program occupies one of the cores, every call that waits for a second thread waits for the
// scheduler.
template <typename Body>
void for_products(int64_t count, int64_t products, const Body& body) {
  constexpr int64_t kGrainProducts = int64_t{1} << 20;
  at::parallel_for(0, count, std::max<int64_t>(1, kGrainProducts / std::max<int64_t>(1, products)), body);
}

}  // namespace ssgpt::kernels
