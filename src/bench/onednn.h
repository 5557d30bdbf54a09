// The fp32 matrix product of oneDNN, which is a part of LibTorch. ATen's own fp32 products go to its BLAS
// library instead; this asks for the function behind ATen's bfloat16 products, which takes fp32 as well.
#pragma once

#include <ATen/core/Tensor.h>

namespace ssgpt::bench {

// Whether LibTorch has it and it takes fp32 on this processor; of x86 that is one with AVX-512.
bool has_onednn();

// out (m, n) = a (m, k) b (k, n), or += where it accumulates. All are fp32 on the CPU; a and b are contiguous
// or transposed views of contiguous tensors, out is contiguous. ATen hands the operands over as they lie in
// memory, without a copy or a reorder; what oneDNN packs inside of its kernel, and the addition, which is a
// post-operation of the product, are part of the call. Throws c10::Error where has_onednn() is false.
void onednn_product(const at::Tensor& a, const at::Tensor& b, bool accumulates, const at::Tensor& out);

}  // namespace ssgpt::bench
