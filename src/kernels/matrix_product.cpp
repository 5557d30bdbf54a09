#include "kernels/dispatch.h"
#include "kernels/ops.h"
#include "kernels/product_of.h"
#include "kernels/product_schedule.h"

#include <ATen/ops/empty.h>

namespace ssgpt::kernels {
namespace {

thread_local ProductRecorder* recorder = nullptr;

cpu::Operand operand(const at::Tensor& x, const char* name, int64_t row_dimension) {
  SSGPT_CHECK(x.dim() == 2 && x.device().is_cpu() && x.scalar_type() == at::kFloat,
              "{} is not an fp32 matrix on the CPU", name);
  const int64_t row_stride = x.stride(row_dimension);
  const int64_t depth_stride = x.stride(1 - row_dimension);
  SSGPT_CHECK(row_stride == 1 || depth_stride == 1, "{} has strides {} and {}", name, x.stride(0),
              x.stride(1));
  return {.data = pointer<float>(x), .row_stride = row_stride, .depth_stride = depth_stride};
}

// Alignment of an address, up to the largest that a library can use.
int64_t alignment(const void* address) {
  constexpr uintptr_t kMost = 256;
  const auto value = reinterpret_cast<uintptr_t>(address) | kMost;
  return static_cast<int64_t>(value & (~value + 1));
}

bool is_transposed(const at::Tensor& x, const char* name) {
  const bool transposed = !x.is_contiguous();
  SSGPT_CHECK(x.dim() == 2 && (!transposed || x.t().is_contiguous()),
              "{} is neither contiguous nor the transpose of a contiguous matrix", name);
  return transposed;
}

void product_on_gpu(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out) {
  const at::ScalarType data = a.scalar_type();
  SSGPT_CHECK(
      (data == at::kFloat || data == at::kBFloat16) && b.scalar_type() == data && b.device() == a.device(),
      "a is {} on {}, b {} on {}", c10::toString(data), a.device().str(), c10::toString(b.scalar_type()),
      b.device().str());
  const cuda::Product product = product_of(a, b, accumulate, out);
  const ProductShape& shape = product.shape;
  SSGPT_CHECK(b.size(0) == shape.k && shape.k > 0 && shape.m > 0 && shape.n > 0,
              "a GEMM of {} x {} and {} x {}", shape.m, shape.k, b.size(0), shape.n);
  check_tensor(out, "out", shape.bf16_out ? data : at::kFloat, {shape.m, shape.n}, a.device());
  const at::Tensor workspace =
      at::empty({static_cast<int64_t>(cuda::product_workspace_bytes())}, a.options().dtype(at::kByte));
  cuda::multiply(product, workspace.data_ptr(), cuda::current_stream());
}

void product_on_cpu(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out) {
  const cpu::ProductArgs args = {.a = operand(a, "a", 0),
                                 .b = operand(b, "b", 1),
                                 .out = pointer<float>(out),
                                 .out_stride = b.size(1),
                                 .depth = a.size(1),
                                 .accumulate = accumulate};
  SSGPT_CHECK(b.size(0) == args.depth && args.depth > 0 && a.size(0) > 0 && b.size(1) > 0,
              "a GEMM of {} x {} and {} x {}", a.size(0), args.depth, b.size(0), b.size(1));
  check_tensor(out, "out", at::kFloat, {a.size(0), b.size(1)});
  multiply_on_cpu(args, a.size(0), b.size(1));
}

}  // namespace

ProductRecorder::ProductRecorder() : outer_(recorder) {
  recorder = this;
}

ProductRecorder::~ProductRecorder() {
  recorder = outer_;
}

bool ProductRecorder::is_listening() {
  return recorder != nullptr;
}

void ProductRecorder::note(const cuda::Product& product) {
  if (recorder) recorder->shapes_[with_choice_alignment(product.shape)] |= product.accumulate;
}

cuda::Product product_of(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out) {
  const bool a_transposed = is_transposed(a, "a");
  const bool b_transposed = is_transposed(b, "b");
  return {.shape = {.m = a.size(0),
                    .n = b.size(1),
                    .k = a.size(1),
                    .a_transposed = a_transposed,
                    .b_transposed = b_transposed,
                    .bf16_inputs = a.scalar_type() == at::kBFloat16,
                    .bf16_out = out.scalar_type() == at::kBFloat16,
                    .a_alignment = alignment(a.data_ptr()),
                    .b_alignment = alignment(b.data_ptr()),
                    .out_alignment = alignment(out.data_ptr())},
          .a = a.data_ptr(),
          .b = b.data_ptr(),
          .out = out.data_ptr(),
          .accumulate = accumulate};
}

void matrix_product(const at::Tensor& a, const at::Tensor& b, bool accumulate, const at::Tensor& out) {
  if (ProductRecorder::is_listening()) ProductRecorder::note(product_of(a, b, accumulate, out));
  dispatch(
      a.device(), [&] { product_on_gpu(a, b, accumulate, out); },
      [&] { product_on_cpu(a, b, accumulate, out); });
}

}  // namespace ssgpt::kernels
