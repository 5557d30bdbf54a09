// A block of an fp32 matrix product: operands are packed into the caches in the order in which micro_product
// reads them (Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008).
#pragma once

#include "kernels/cpu/micro_product.h"
#include "kernels/cpu/table.h"

namespace ssgpt::kernels::cpu::SSGPT_ISA {

constexpr int64_t kDepthBlock = 256;
// Rows of a at this distance do not fall into the same sets of the first cache.
constexpr int64_t kPackedRowStride = kDepthBlock + 16;

static_assert(kProductBlock % kMicroRows == 0 && kProductBlock % kMicroColumns == 0);
static_assert(kProductWorkspace >= kProductBlock * (kPackedRowStride + kDepthBlock));

inline void copy_floats(float* to, const float* from, int64_t count) {
  __builtin_memcpy(to, from, static_cast<uint64_t>(count) * sizeof(float));
}

// Rows of a that is contiguous along the depth, at kPackedRowStride; zero up to a whole tile.
inline void pack_rows_of_a(const Operand& a, int64_t row, int64_t rows, int64_t depth_begin, int64_t depth,
                           float* to) {
  const int64_t padded = (rows + kMicroRows - 1) / kMicroRows * kMicroRows;
  for (int64_t r = 0; r < padded; ++r, to += kPackedRowStride) {
    if (r < rows) {
      copy_floats(to, a.data + (row + r) * a.row_stride + depth_begin, depth);
    } else {
      __builtin_memset(to, 0, static_cast<uint64_t>(depth) * sizeof(float));
    }
  }
}

// Asks for the rows of the next tile while this one is multiplied. Rows that are not there do no harm.
inline void prefetch_rows(const Operand& a, int64_t row, int64_t depth_begin, int64_t depth) {
  for (int64_t r = 0; r < kMicroRows; ++r) {
    const float* from = a.data + (row + r) * a.row_stride + depth_begin;
    for (int64_t k = 0; k < depth; k += 16) __builtin_prefetch(from + k);
  }
}

// `width` adjacent numbers of each k, of which `count` are there and the others zero: to[k * width + i].
template <int64_t kWidth>
void pack_adjacent(const float* from, int64_t depth_stride, int64_t count, int64_t depth, float* to) {
  for (int64_t k = 0; k < depth; ++k, from += depth_stride, to += kWidth) {
    // The rows are far apart: the processor does not see the next ones coming.
    for (int64_t i = 0; i < kWidth; i += 16) __builtin_prefetch(from + 16 * depth_stride + i);
    if (count >= kWidth) {
      copy_floats(to, from, kWidth);
    } else {
      for (int64_t i = 0; i < kWidth; ++i) to[i] = i < count ? from[i] : 0.0f;
    }
  }
}

// The same of numbers that stand `stride` apart while the depth is contiguous: a transposition.
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

// One tile of c; at the edges, where a whole tile does not fit, through a tile beside it.
template <int64_t kRowStep, int64_t kDepthStep>
void product_tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, int64_t rows,
                  int64_t columns, bool accumulate) {
  if (rows >= kMicroRows && columns >= kMicroColumns) {
    micro_product<kRowStep, kDepthStep>(depth, a, b, kMicroColumns, c, c_stride, accumulate);
    return;
  }
  float tile[kMicroRows * kMicroColumns];
  micro_product<kRowStep, kDepthStep>(depth, a, b, kMicroColumns, tile, kMicroColumns, false);
  for (int64_t r = 0; r < rows && r < kMicroRows; ++r) {
    for (int64_t i = 0; i < columns && i < kMicroColumns; ++i) {
      float& to = c[r * c_stride + i];
      to = accumulate ? to + tile[r * kMicroColumns + i] : tile[r * kMicroColumns + i];
    }
  }
}

// Rows [row, row + rows) and columns [column, column + columns) of args.out, each at most kProductBlock.
// Every element is a sum in the order of the depth, in blocks of kDepthBlock, wherever the block lies.
inline void matrix_product_block(const ProductArgs& args, int64_t row, int64_t rows, int64_t column,
                                 int64_t columns, float* workspace) {
  float* packed_b = workspace;
  float* packed_a = workspace + kProductBlock * kDepthBlock;
  const bool a_by_rows = args.a.depth_stride == 1;
  for (int64_t begin = 0; begin < args.depth; begin += kDepthBlock) {
    const int64_t depth = args.depth - begin < kDepthBlock ? args.depth - begin : kDepthBlock;
    const bool accumulate = args.accumulate || begin > 0;
    for (int64_t j = 0; j < columns; j += kMicroColumns) {
      const float* from = args.b.data + (column + j) * args.b.row_stride + begin * args.b.depth_stride;
      if (args.b.row_stride == 1) {
        pack_adjacent<kMicroColumns>(from, args.b.depth_stride, columns - j, depth, packed_b + j * depth);
      } else {
        pack_transposed(from, args.b.row_stride, columns - j, depth, packed_b + j * depth);
      }
    }
    for (int64_t i = 0; i < rows; i += kMicroRows) {
      if (a_by_rows) {
        pack_rows_of_a(args.a, row + i, rows - i < kMicroRows ? rows - i : kMicroRows, begin, depth,
                       packed_a);
      } else {
        pack_adjacent<kMicroRows>(args.a.data + row + i + begin * args.a.depth_stride, args.a.depth_stride,
                                  rows - i, depth, packed_a);
      }
      if (a_by_rows) prefetch_rows(args.a, row + i + kMicroRows, begin, depth);
      for (int64_t j = 0; j < columns; j += kMicroColumns) {
        float* c = args.out + (row + i) * args.out_stride + column + j;
        const float* b = packed_b + j * depth;
        if (a_by_rows) {
          product_tile<kPackedRowStride, 1>(depth, packed_a, b, c, args.out_stride, rows - i, columns - j,
                                            accumulate);
        } else {
          product_tile<1, kMicroRows>(depth, packed_a, b, c, args.out_stride, rows - i, columns - j,
                                      accumulate);
        }
      }
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
