// The fp32 GEMM of oneDNN, which is part of LibTorch. ATen's own fp32 GEMMs use its BLAS library instead;
// this calls the function behind ATen's bfloat16 GEMMs, which accepts fp32 as well.
#pragma once

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

// Whether LibTorch includes it and it supports fp32 on this processor; on x86 that requires AVX-512.
bool has_onednn();

// out (m, n) = a (m, k) b (k, n), or += if `accumulates`. All are fp32 on the CPU; a and b are contiguous or
// transposed views of contiguous tensors, out is contiguous. ATen passes the operands in their memory layout,
// without a copy or a reorder; oneDNN's packing inside its kernel, and the addition, which is a post-op of
// the GEMM, are part of the call. Throws c10::Error if has_onednn() is false.
void onednn_product(const at::Tensor& a, const at::Tensor& b, bool accumulates, const at::Tensor& out);

}  // namespace ssgpt::bench
