#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/table.h"

namespace ssgpt::kernels::cuda {

void fill_flat(Table& table) {
  table.flat_sum = flat_sum;
  table.squared_norm = squared_norm;
  table.adamw = adamw;
}

}  // namespace ssgpt::kernels::cuda
