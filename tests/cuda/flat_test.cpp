// The operations on flat tensors, on a GPU.
#include "gpu_support.h"
#include "kernels/ops.h"

#include <limits>

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ssgpt::kernels {
namespace {

class FlatOnGpu : public OnGpu {};

// Sizes that are no multiples of vectors, of what a block sums, of chunks.
constexpr std::array<int64_t, 9> kSizes = {0, 1, 3, 31, 1025, 65536, 65537, 200'003, 5'000'001};

TEST_F(FlatOnGpu, SumsAreThoseOfDoubles) {
  for (const int64_t size : kSizes) {
    const at::Tensor x = normal({size});
    const at::Tensor x64 = x.to(at::kDouble);
    // fp64 adds N terms with at most N 2^-53 of the sum of their sizes: below 2^-30 here.
    const double sum_of_sizes = x64.abs().sum().item<double>();
    EXPECT_NEAR(flat_sum(on_gpu(x)).item<double>(), x64.sum().item<double>(), 0x1p-30 * sum_of_sizes);
    const double squares = x64.square().sum().item<double>();
    EXPECT_NEAR(squared_norm(on_gpu(x)).item<double>(), squares, 0x1p-30 * squares);
  }
}

}  // namespace
}  // namespace ssgpt::kernels
