#include "core/variables.h"
#include "kernels/dispatch.h"
#include "kernels/ops.h"

namespace ssgpt::kernels {
namespace {

cuda::CrossEntropyRow wanted_row() {
  const auto choice = core::find_choice_variable("SSGPT_CROSS_ENTROPY_ROW", {"shared", "global"});
  if (!choice) return cuda::CrossEntropyRow::kAuto;
  return *choice == "shared" ? cuda::CrossEntropyRow::kShared : cuda::CrossEntropyRow::kGlobal;
}

void cross_entropy(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab_size,
                   const at::Tensor& losses, bool leave_gradient) {
  SSGPT_CHECK(logits.dim() == 2, "logits have {} dimensions, expected (R, C)", logits.dim());
  const int64_t rows = logits.size(0);
  const int64_t columns = logits.size(1);
  const at::Device device = logits.device();
  check_tensor(logits, "logits", logits.scalar_type(), logits.sizes(), device);
  check_tensor(targets, "targets", at::kLong, {rows}, device);
  check_tensor(losses, "losses", at::kFloat, {rows}, device);
  SSGPT_CHECK(vocab_size > 0 && vocab_size <= columns, "vocab_size {} with {} columns", vocab_size, columns);
  const int64_t* target = pointer<int64_t>(targets);
  dispatch(
      logits,
      [&](const auto& kernels, cuda::Stream stream) {
        check_vectors(logits);
        using T = DataOf<decltype(kernels)>;
        kernels.cross_entropy(pointer<T>(logits), target, pointer<float>(losses), rows, columns, vocab_size,
                              leave_gradient, wanted_row(), stream);
      },
      [&](const auto& loops) {
        for (int64_t row = 0; row < rows; ++row) {
          SSGPT_CHECK(target[row] < vocab_size, "target {} at row {} of a vocabulary of {}", target[row], row,
                      vocab_size);
        }
        using T = DataOf<decltype(loops)>;
        for_rows(rows, columns, [&](int64_t begin, int64_t end) {
          loops.cross_entropy(pointer<T>(logits) + begin * columns, target + begin,
                              pointer<float>(losses) + begin, end - begin, columns, vocab_size,
                              leave_gradient);
        });
      });
}

}  // namespace

void cross_entropy_forward(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab_size,
                           const at::Tensor& losses) {
  cross_entropy(logits, targets, vocab_size, losses, /*leave_gradient=*/false);
}

void cross_entropy_forward_backward(const at::Tensor& logits, const at::Tensor& targets, int64_t vocab_size,
                                    const at::Tensor& losses) {
  cross_entropy(logits, targets, vocab_size, losses, /*leave_gradient=*/true);
}

}  // namespace ssgpt::kernels
