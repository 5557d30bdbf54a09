// All CPU loops, for the instruction set that this translation unit's compiler flags allow; CMakeLists.txt
// compiles it once per set, with SSGPT_ISA as the namespace.

#include "kernels/cpu/attention_backward.h"
#include "kernels/cpu/attention_forward.h"
#include "kernels/cpu/cached_attention.h"
#include "kernels/cpu/cross_entropy.h"
#include "kernels/cpu/embedding.h"
#include "kernels/cpu/flat.h"
#include "kernels/cpu/matrix_product.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/rope.h"
#include "kernels/cpu/swiglu.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/thin_linear.h"

#define SSGPT_STRING_OF(name) #name
#define SSGPT_STRING(name) SSGPT_STRING_OF(name)

namespace ssgpt::kernels::cpu::SSGPT_ISA {

template <typename T>
constexpr DataLoops<T> data_loops() {
  return {.rms_norm_forward = rms_norm_forward<T>,
          .add_rms_norm_forward = add_rms_norm_forward<T>,
          .rms_norm_backward = rms_norm_backward<T>,
          .rope_forward = rope_forward<T>,
          .rope_backward = rope_backward<T>,
          .attention_forward = attention_forward<T>,
          .attention_backward = attention_backward<T>,
          .swiglu_forward = swiglu_forward<T>,
          .swiglu_backward = swiglu_backward<T>,
          .cross_entropy = cross_entropy<T>,
          .embedding_forward = embedding_forward<T>,
          .embedding_backward = embedding_backward<T>,
          .cached_attention = cached_attention<T>,
          .thin_linear = thin_linear<T, T>,
          .thin_linear_fp32 = thin_linear<T, float>};
}

extern const Table kTable;
const Table kTable = {.name = SSGPT_STRING(SSGPT_ISA),
                      .fp32 = data_loops<float>(),
                      .bf16 = data_loops<Bfloat16>(),
                      .pack_columns = pack_product_columns,
                      .multiply_packed = multiply_packed,
                      .sum = sum,
                      .sum_of_squares = sum_of_squares,
                      .adamw = adamw,
                      .round_to_bf16 = round_to_bf16,
                      .exp = exp_array,
                      .exp_of_difference = exp_of_difference_array};

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
