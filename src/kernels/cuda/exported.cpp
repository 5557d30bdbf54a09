// Part of libssgpt_cuda.so: what it exports to kernels/cuda/imported.cpp.

#include "kernels/cuda/functions.h"

#include <nvtx3/nvToolsExt.h>

namespace ssgpt::kernels::cuda {
namespace {

void begin_range(const char* name) {
  nvtxRangePushA(name);
}

void end_range() {
  nvtxRangePop();
}

}  // namespace

extern "C" const Functions ssgpt_kernel_functions;
const Functions ssgpt_kernel_functions = {.table = table,
                                          .current_stream = current_stream,
                                          .use_choices = use_choices,
                                          .product_workspace_bytes = product_workspace_bytes,
                                          .multiply = multiply,
                                          .multiply_by_plan = multiply,
                                          .product_library = product_library,
                                          .propose = propose,
                                          .make_plan = make_plan,
                                          .describe = describe,
                                          .begin_range = begin_range,
                                          .end_range = end_range};

}  // namespace ssgpt::kernels::cuda
