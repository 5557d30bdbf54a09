// What libssgpt_cuda.so provides to this folder: the functions of table.h and product.h, and ranges for
// profilers.
#pragma once

#include "kernels/cuda/product.h"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {

struct Functions {
  decltype(&cuda::table) table;
  decltype(&cuda::current_stream) current_stream;
  decltype(&cuda::use_choices) use_choices;
  decltype(&cuda::product_workspace_bytes) product_workspace_bytes;
  void (*multiply)(const Product& product, void* workspace, Stream stream);
  void (*multiply_by_plan)(const Product& product, const ProductPlan& plan, void* workspace, Stream stream);
  decltype(&cuda::product_library) product_library;
  decltype(&cuda::propose) propose;
  decltype(&cuda::make_plan) make_plan;
  decltype(&cuda::describe) describe;
  void (*begin_range)(const char* name);
  void (*end_range)();
};
inline constexpr const char* kFunctions = "ssgpt_kernel_functions";

}  // namespace ssgpt::kernels::cuda
