#include "kernels/dispatch.h"
#include "kernels/ops.h"

namespace ssgpt::kernels {
namespace {

// Returns F.
int64_t check_swiglu(const at::Tensor& gate_up, const at::Tensor& half, const char* half_name) {
  SSGPT_CHECK(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0, "gate_up has shape [{}], expected (M, 2F)",
              fmt::join(gate_up.sizes(), ", "));
  check_tensor(gate_up, "gate_up", gate_up.scalar_type(), gate_up.sizes(), gate_up.device());
  const int64_t width = gate_up.size(1) / 2;
  check_tensor(half, half_name, gate_up.scalar_type(), {gate_up.size(0), width}, gate_up.device());
  return width;
}

}  // namespace

void swiglu_forward(const at::Tensor& gate_up, const at::Tensor& out) {
  const int64_t width = check_swiglu(gate_up, out, "out");
  dispatch(
      gate_up,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(gate_up, out);
        using T = DataOf<decltype(kernels)>;
        kernels.swiglu_forward(pointer<T>(gate_up), pointer<T>(out), gate_up.size(0), width, stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        for_rows(gate_up.size(0), width, [&](int64_t begin, int64_t end) {
          loops.swiglu_forward(pointer<T>(gate_up) + begin * 2 * width, pointer<T>(out) + begin * width,
                               end - begin, width);
        });
      });
}

void swiglu_backward(const at::Tensor& d_out, const at::Tensor& gate_up, const at::Tensor& d_gate_up) {
  const int64_t width = check_swiglu(gate_up, d_out, "d_out");
  check_tensor(d_gate_up, "d_gate_up", gate_up.scalar_type(), gate_up.sizes(), gate_up.device());
  dispatch(
      gate_up,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(d_out, gate_up, d_gate_up);
        using T = DataOf<decltype(kernels)>;
        kernels.swiglu_backward(pointer<T>(d_out), pointer<T>(gate_up), pointer<T>(d_gate_up),
                                gate_up.size(0), width, stream);
      },
      [&](const auto& loops) {
        using T = DataOf<decltype(loops)>;
        for_rows(gate_up.size(0), width, [&](int64_t begin, int64_t end) {
          loops.swiglu_backward(pointer<T>(d_out) + begin * width, pointer<T>(gate_up) + begin * 2 * width,
                                pointer<T>(d_gate_up) + begin * 2 * width, end - begin, width);
        });
      });
}

}  // namespace ssgpt::kernels
