// Parts of an fp32 GEMM: operands are packed, for the caches, in the order in which micro_product reads them
// (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
#pragma once

#include "kernels/cpu/micro_product.h"
#include "kernels/cpu/table.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

static_assert(kPackedRows % kProductRowUnit == 0 && kProductRowUnit % kMicroRows == 0);
static_assert(kProductColumnUnit % kMicroColumns == 0);

inline void copy_floats(float* to, const float* from, int64_t count) {
  __builtin_memcpy(to, from, static_cast<uint64_t>(count) * sizeof(float));
}

// Packs elements that are adjacent in memory, `count` for each of `depth` k, into panels of kWidth: element i
// of k goes to to[i / kWidth * panel_stride + k * kWidth + i % kWidth], with zeros up to a whole panel. Whole
// rows are read, so that the hardware prefetcher works.
template <int64_t kWidth>
void pack_adjacent(const float* from, int64_t depth_stride, int64_t count, int64_t depth,
                   int64_t panel_stride, float* to) {
  for (int64_t k = 0; k < depth; ++k, from += depth_stride, to += kWidth) {
    float* panel = to;
    int64_t i = 0;
    for (; i + kWidth <= count; i += kWidth, panel += panel_stride) copy_floats(panel, from + i, kWidth);
    if (i == count) continue;
    for (int64_t n = 0; n < kWidth; ++n) panel[n] = i + n < count ? from[i + n] : 0.0f;
  }
}

// Packs one panel of columns that are `stride` apart and contiguous along the depth: a transposition.
inline void pack_transposed(const float* from, int64_t stride, int64_t count, int64_t depth, float* to) {
  for (int64_t group = 0; group < kMicroColumns; group += kLanes) {
    int64_t k = 0;
    for (; k + kLanes <= depth; k += kLanes) {
      Vector rows[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        rows[i] = group + i < count ? load_vector(from + (group + i) * stride + k) : Vector{};
      }
      transpose_square(rows);
      for (int64_t i = 0; i < kLanes; ++i) store_vector(to + (k + i) * kMicroColumns + group, rows[i]);
    }
    for (; k < depth; ++k) {
      for (int64_t i = 0; i < kLanes; ++i) {
        to[k * kMicroColumns + group + i] = group + i < count ? from[(group + i) * stride + k] : 0.0f;
      }
    }
  }
}

inline void pack_product_columns(const ProductArgs& args, const ProductPart& part, float* to) {
  const Operand& b = args.b;
  const float* from = b.data + part.column * b.row_stride + part.begin * b.depth_stride;
  if (b.row_stride == 1) {
    pack_adjacent<kMicroColumns>(from, b.depth_stride, part.columns, part.depth, part.depth * kMicroColumns,
                                 to);
    return;
  }
  for (int64_t j = 0; j < part.columns; j += kMicroColumns) {
    pack_transposed(from + j * b.row_stride, b.row_stride, part.columns - j, part.depth, to + j * part.depth);
  }
}

// Packs a tile's rows of an `a` contiguous along the depth, kPackedRowStride apart; zeros beyond `rows`.
inline void pack_rows_of_tile(const Operand& a, int64_t row, int64_t rows, const ProductPart& part,
                              float* to) {
  for (int64_t r = 0; r < kMicroRows; ++r, to += kPackedRowStride) {
    if (r < rows) {
      copy_floats(to, a.data + (row + r) * a.row_stride + part.begin, part.depth);
    } else {
      __builtin_memset(to, 0, static_cast<uint64_t>(part.depth) * sizeof(float));
    }
  }
}

// One tile of c; partial tiles at the edges are computed in a separate full tile.
template <int64_t kRowStep, int64_t kDepthStep>
void product_tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, int64_t rows,
                  int64_t columns, bool accumulate) {
  // A panel of b comes from the L2 cache; of prefetch distances 0, 4, 8 and 16, 8 was the fastest on a Xeon.
  constexpr int64_t kAhead = 8;
  if (rows >= kMicroRows && columns >= kMicroColumns) {
    micro_product<kRowStep, kDepthStep, kAhead>(depth, a, b, kMicroColumns, c, c_stride, accumulate);
    return;
  }
  float tile[kMicroRows * kMicroColumns];
  micro_product<kRowStep, kDepthStep, kAhead>(depth, a, b, kMicroColumns, tile, kMicroColumns, false);
  for (int64_t r = 0; r < rows && r < kMicroRows; ++r) {
    for (int64_t i = 0; i < columns && i < kMicroColumns; ++i) {
      float& to = c[r * c_stride + i];
      to = accumulate ? to + tile[r * kMicroColumns + i] : tile[r * kMicroColumns + i];
    }
  }
}

// Multiplies at most kPackedRows rows with the columns [column, column + columns) of the part, which stay in
// the L2 cache meanwhile. A tile of an `a` that is contiguous along the depth is packed when first needed.
inline void multiply_rows(const ProductArgs& args, const ProductPart& part, int64_t column, int64_t columns,
                          const float* packed_columns, float* packed_rows) {
  const bool a_by_rows = args.a.depth_stride == 1;
  const bool accumulate = args.accumulate || part.begin > 0;
  for (int64_t i = 0; i < part.rows; i += kMicroRows) {
    float* a = packed_rows + i * kPackedRowStride;
    if (a_by_rows && column == 0) pack_rows_of_tile(args.a, part.row + i, part.rows - i, part, a);
    for (int64_t j = column; j < column + columns; j += kMicroColumns) {
      float* c = args.out + (part.row + i) * args.out_stride + part.column + j;
      const float* b = packed_columns + j * part.depth;
      if (a_by_rows) {
        product_tile<kPackedRowStride, 1>(part.depth, a, b, c, args.out_stride, part.rows - i,
                                          part.columns - j, accumulate);
      } else {
        product_tile<1, kMicroRows>(part.depth, a, b, c, args.out_stride, part.rows - i, part.columns - j,
                                    accumulate);
      }
    }
  }
}

inline void multiply_packed(const ProductArgs& args, const ProductPart& part, const float* columns,
                            float* rows) {
  constexpr int64_t kColumns = 384;
  for (int64_t i = 0; i < part.rows; i += kPackedRows) {
    ProductPart group = part;
    group.row += i;
    group.rows = part.rows - i < kPackedRows ? part.rows - i : kPackedRows;
    if (args.a.depth_stride != 1) {
      pack_adjacent<kMicroRows>(args.a.data + group.row + part.begin * args.a.depth_stride,
                                args.a.depth_stride, group.rows, part.depth, kMicroRows * kPackedRowStride,
                                rows);
    }
    for (int64_t j = 0; j < part.columns; j += kColumns) {
      multiply_rows(args, group, j, part.columns - j < kColumns ? part.columns - j : kColumns, columns, rows);
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
