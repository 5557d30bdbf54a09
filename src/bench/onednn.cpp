#include "bench/onednn.h"

#include <exception>

#include <ATen/Context.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

// LibTorch exports this function, but none of its headers declare it.
namespace at::native {
TORCH_API void mkldnn_matmul(const Tensor& a, const Tensor& b, const Tensor& out, float beta, float alpha);
}

namespace ssgpt::bench {

bool has_onednn() {
  static const bool has = [] {
    if (!at::Context::hasMKLDNN()) return false;
    try {
      const at::Tensor one = at::ones({1, 1});
      onednn_product(one, one, /*accumulates=*/false, at::zeros({1, 1}));
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }();
  return has;
}

void onednn_product(const at::Tensor& a, const at::Tensor& b, bool accumulates, const at::Tensor& out) {
  at::native::mkldnn_matmul(a, b, out, /*beta=*/accumulates ? 1.0F : 0.0F, /*alpha=*/1.0F);
}

}  // namespace ssgpt::bench
