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

// Rows of memory that are prefetched a few cache lines at a time.
class Ahead {
 public:
  Ahead() = default;
  // `rows` rows of `width` elements, `stride` apart, of which each call prefetches `lines_per_call` lines.
  Ahead(const float* from, int64_t stride, int64_t rows, int64_t width, int64_t lines_per_call)
      : from_(from), stride_(stride), rows_(rows), width_(width), lines_per_call_(lines_per_call) {}

  static int64_t lines(int64_t rows, int64_t width) { return rows * divide_up(width, kLine); }

  // kLocality: 3 for the L1 cache, 2 for the L2 cache, as in __builtin_prefetch.
  template <int kLocality>
  void prefetch() {
    for (int64_t n = 0; n < lines_per_call_ && rows_ > 0; ++n) {
      __builtin_prefetch(from_ + column_, 0, kLocality);
      column_ += kLine;
      if (column_ < width_) continue;
      column_ = 0;
      if (--rows_ > 0) from_ += stride_;
    }
  }

 private:
  static constexpr int64_t kLine = 16;

  const float* from_ = nullptr;
  int64_t stride_ = 0, rows_ = 0, width_ = 0, lines_per_call_ = 0;
  int64_t column_ = 0;
};

// `count` rows or columns of an operand, from `first`, over the depth [begin, begin + depth), in `calls`
// calls. No more than half of a small L2 cache: those that are packed first.
inline Ahead ahead_of(const Operand& operand, int64_t first, int64_t count, int64_t begin, int64_t depth,
                      int64_t calls) {
  constexpr int64_t kMost = 1 << 17;
  if (count <= 0) return {};
  const float* const from = operand.data + first * operand.row_stride + begin * operand.depth_stride;
  const bool by_rows = operand.depth_stride == 1;
  const int64_t width = by_rows ? depth : count;
  const int64_t all = by_rows ? count : depth;
  const int64_t rows = all * width > kMost ? kMost / width : all;
  return {from, by_rows ? operand.row_stride : operand.depth_stride, rows, width,
          divide_up(Ahead::lines(rows, width), calls)};
}

// What is read soon, prefetched while the tiles before it are multiplied: packing, and adding to c, would
// otherwise wait for each line.
struct ReadSoon {
  Ahead a, b;  // packed next
  Ahead c;     // next tile

  void operator()() {
    a.prefetch<2>();
    b.prefetch<2>();
    c.prefetch<3>();
  }
};

// One tile of c from kRows rows and kVectors vectors of columns. Where c has fewer of either, the tile is
// computed in memory of its own.
template <int64_t kRowStep, int64_t kDepthStep, int64_t kRows, int64_t kVectors>
void product_tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, int64_t rows,
                  int64_t columns, bool accumulate, ReadSoon& soon) {
  // A panel of b comes from the L2 cache; of prefetch distances 0, 4, 8 and 16, 8 was the fastest on a Xeon.
  constexpr int64_t kAhead = 8;
  constexpr int64_t kColumns = kVectors * kLanes;
  const bool whole = rows >= kRows && columns >= kColumns;
  float tile[kRows * kColumns];
  micro_product<kRowStep, kDepthStep, kAhead, kRows, kVectors>(
      depth, a, b, kMicroColumns, whole ? c : tile, whole ? c_stride : kColumns, whole && accumulate, soon);
  if (whole) return;
  for (int64_t r = 0; r < rows && r < kRows; ++r) {
    for (int64_t i = 0; i < columns && i < kColumns; ++i) {
      float& to = c[r * c_stride + i];
      to = accumulate ? to + tile[r * kColumns + i] : tile[r * kColumns + i];
    }
  }
}

template <int64_t kRowStep, int64_t kDepthStep, int64_t kRows>
void narrowest_tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, int64_t rows,
                    int64_t columns, bool accumulate, ReadSoon& soon) {
  if (columns > kLanes) {
    product_tile<kRowStep, kDepthStep, kRows, 2>(depth, a, b, c, c_stride, rows, columns, accumulate, soon);
  } else {
    product_tile<kRowStep, kDepthStep, kRows, 1>(depth, a, b, c, c_stride, rows, columns, accumulate, soon);
  }
}
// The smallest tile that covers these rows and columns of c: of the edges, little is multiplied in vain.
template <int64_t kRowStep, int64_t kDepthStep>
void smallest_tile(int64_t depth, const float* a, const float* b, float* c, int64_t c_stride, int64_t rows,
                   int64_t columns, bool accumulate, ReadSoon& soon) {
  constexpr int64_t kThird = kMicroRows / 3;
  if (rows > 2 * kThird) {
    narrowest_tile<kRowStep, kDepthStep, kMicroRows>(depth, a, b, c, c_stride, rows, columns, accumulate,
                                                     soon);
  } else if (rows > kThird) {
    narrowest_tile<kRowStep, kDepthStep, 2 * kThird>(depth, a, b, c, c_stride, rows, columns, accumulate,
                                                     soon);
  } else {
    narrowest_tile<kRowStep, kDepthStep, kThird>(depth, a, b, c, c_stride, rows, columns, accumulate, soon);
  }
}

// The depth of the block after that of the part; 0 after the last.
inline int64_t next_depth(const ProductArgs& args, const ProductPart& part) {
  return smaller(args.depth - part.begin - part.depth, kDepthBlock);
}

// Rows of a that are packed after those of the group [row, row + rows) of the part, at most `most`: those
// below, or the first ones of the next block if the same thread packs it.
inline Ahead next_rows(const ProductArgs& args, const ProductPart& part, int64_t row, int64_t rows,
                       int64_t most, int64_t calls) {
  const int64_t below = part.row + part.rows - row - rows;
  if (below > 0) return ahead_of(args.a, row + rows, smaller(below, most), part.begin, part.depth, calls);
  const int64_t depth = next_depth(args, part);
  if (!part.packs_next_rows || depth == 0) return {};
  return ahead_of(args.a, part.row, smaller(part.rows, most), part.begin + part.depth, depth, calls);
}

// Multiplies rows [row, row + rows), at most kPackedRows, with the columns [column, column + columns) of the
// part, which stay in the L2 cache meanwhile. A tile of an `a` that is contiguous along the depth is packed
// when first needed.
inline void multiply_rows(const ProductArgs& args, const ProductPart& part, int64_t row, int64_t rows,
                          int64_t column, int64_t columns, const float* packed_columns, float* packed_rows,
                          ReadSoon& soon) {
  const bool a_by_rows = args.a.depth_stride == 1;
  const bool accumulate = args.accumulate || part.begin > 0;
  const int64_t stretches = divide_up(part.depth, kStretch);
  const int64_t lines_of_c = divide_up(Ahead::lines(kMicroRows, kMicroColumns), stretches);
  for (int64_t i = 0; i < rows; i += kMicroRows) {
    float* a = packed_rows + i * kPackedRowStride;
    if (a_by_rows && column == 0) {
      pack_rows_of_tile(args.a, row + i, rows - i, part, a);
      soon.a = next_rows(args, part, row + i, smaller(rows - i, kMicroRows), kMicroRows,
                         stretches * divide_up(columns, kMicroColumns));
    }
    float* const c = args.out + (row + i) * args.out_stride + part.column;
    for (int64_t j = column; j < column + columns; j += kMicroColumns) {
      const float* b = packed_columns + j * part.depth;
      const int64_t left = smaller(rows - i, kMicroRows);
      if (j + kMicroColumns < column + columns) {
        soon.c = {c + j + kMicroColumns, args.out_stride, left, kMicroColumns, lines_of_c};
      } else if (left < rows - i) {
        soon.c = {c + kMicroRows * args.out_stride + column, args.out_stride,
                  smaller(rows - i - left, kMicroRows), kMicroColumns, lines_of_c};
      }
      if (a_by_rows) {
        smallest_tile<kPackedRowStride, 1>(part.depth, a, b, c + j, args.out_stride, rows - i,
                                           part.columns - j, accumulate, soon);
      } else {
        smallest_tile<1, kMicroRows>(part.depth, a, b, c + j, args.out_stride, rows - i, part.columns - j,
                                     accumulate, soon);
      }
    }
  }
}

inline void multiply_packed(const ProductArgs& args, const ProductPart& part, const float* columns,
                            float* rows) {
  constexpr int64_t kColumns = 384;
  const int64_t stretches = divide_up(part.columns, kMicroColumns) * divide_up(part.depth, kStretch);
  ReadSoon soon;
  if (part.packs_next_columns) {
    soon.b = ahead_of(args.b, part.column, part.columns, part.begin + part.depth, next_depth(args, part),
                      stretches * divide_up(part.rows, kMicroRows));
  }
  for (int64_t i = 0; i < part.rows; i += kPackedRows) {
    const int64_t row = part.row + i;
    const int64_t count = smaller(part.rows - i, kPackedRows);
    if (args.a.depth_stride != 1) {
      pack_adjacent<kMicroRows>(args.a.data + row + part.begin * args.a.depth_stride, args.a.depth_stride,
                                count, part.depth, kMicroRows * kPackedRowStride, rows);
      soon.a = next_rows(args, part, row, count, kPackedRows, stretches * divide_up(count, kMicroRows));
    }
    for (int64_t j = 0; j < part.columns; j += kColumns) {
      multiply_rows(args, part, row, count, j, smaller(part.columns - j, kColumns), columns, rows, soon);
    }
  }
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
