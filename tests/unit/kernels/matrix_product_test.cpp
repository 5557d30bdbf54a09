// Matrix products against fp64.

#include "core/check.h"
#include "kernels/ops.h"
#include "kernels/support.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>

namespace ssgpt::kernels {
namespace {

struct Size {
  int64_t rows, columns, depth;
};
// One number; below, at and beyond a tile, a block of the depth (256), and packed rows (192). Then many rows,
// whose columns are packed for all threads, in one slab and in several (1,536, or 768), or, if they are few,
// over the whole depth; few rows, where each thread packs its own; and depths of 2,048 and more, which are
// halved for a transposed `a` and a `b` that is not.
const std::vector<Size> kSizes = {{1, 1, 1},      {5, 7, 3},       {12, 32, 16},    {13, 33, 17},
                                  {96, 64, 256},  {101, 77, 303},  {384, 400, 257}, {400, 48, 520},
                                  {37, 391, 64},  {1000, 10, 100}, {193, 96, 512},  {900, 300, 600},
                                  {500, 1600, 9}, {420, 800, 300}, {30, 1601, 300}, {130, 70, 2061},
                                  {1, 1, 2048},   {9, 1700, 2304}, {1601, 77, 700}, {1600, 384, 513}};

class MatrixProduct : public OpTest {
 protected:
  at::Tensor matrix(int64_t rows, int64_t columns, bool transposed) {
    return transposed ? fp32({columns, rows}).t() : fp32({rows, columns});
  }
};

TEST_P(MatrixProduct, MatchesForEveryLayoutAndSize) {
  for (const auto& [rows, columns, depth] : kSizes) {
    for (const int layout : {0, 1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << depth << " x " << columns << ", layout " << layout);
      const at::Tensor a = matrix(rows, depth, layout % 2 == 1);
      const at::Tensor b = matrix(depth, columns, layout / 2 == 1);
      const at::Tensor out = at::full({rows, columns}, std::numeric_limits<double>::quiet_NaN(), at::kFloat);
      matrix_product(a, b, /*accumulate=*/false, out);
      const at::Tensor expected = at::matmul(fp64(a), fp64(b));
      // Every addition rounds to 2^-24 of a partial sum; they average out to well below depth times that.
      const double tolerance = 0x1p-24 * (2.0 + std::sqrt(static_cast<double>(depth)));
      EXPECT_TRUE(is_close(out, expected, tolerance, tolerance));
      const at::Tensor start = fp32({rows, columns});
      out.copy_(start);
      matrix_product(a, b, /*accumulate=*/true, out);
      EXPECT_TRUE(is_close(out, expected + fp64(start), tolerance, tolerance));
    }
  }
}

// A tile at the edge writes only the elements of the result: memory after it is unchanged.
TEST_P(MatrixProduct, MatchesForEverySizeOfTheLastTile) {
  constexpr int64_t kDepth = 19;
  constexpr double kBehind = 1234.5;
  const double tolerance = 0x1p-24 * (2.0 + std::sqrt(static_cast<double>(kDepth)));  // as above
  for (int64_t rows = 1; rows <= 25; ++rows) {
    for (int64_t columns = 1; columns <= 65; ++columns) {
      for (const bool transposed : {false, true}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << columns << ", transposed: " << transposed);
        const at::Tensor a = matrix(rows, kDepth, transposed);
        const at::Tensor b = matrix(kDepth, columns, false);
        const at::Tensor expected = at::matmul(fp64(a), fp64(b));
        const at::Tensor memory = at::full({rows + 1, columns}, kBehind, at::kFloat);
        const at::Tensor out = memory.narrow(0, 0, rows);
        matrix_product(a, b, /*accumulate=*/false, out);
        EXPECT_TRUE(is_close(out, expected, tolerance, tolerance));
        EXPECT_TRUE(memory[rows].eq(kBehind).all().item<bool>());
        matrix_product(a, b, /*accumulate=*/true, out);
        EXPECT_TRUE(is_close(out, 2.0 * expected, 2.0 * tolerance, tolerance));
      }
    }
  }
}

TEST_P(MatrixProduct, TheNumberOfThreadsChangesNoBit) {
  const int threads = at::get_num_threads();
  // Columns packed for all threads and by each for itself, in one slab and several, over several blocks of
  // the depth, all of them at once or one after the other; fewer tiles of rows than threads, of which each
  // has a million products to do at least; depths that are halved.
  for (const auto& [rows, columns, depth] :
       {Size{900, 1600, 600}, Size{130, 900, 600}, Size{500, 450, 300}, Size{1200, 256, 1024},
        Size{2400, 1600, 600}, Size{256, 256, 1024}, Size{2801, 100, 700}, Size{24, 32, 20480},
        Size{256, 700, 2100}}) {
    for (const bool transposed : {false, true}) {
      const at::Tensor a = matrix(rows, depth, transposed);
      const at::Tensor b = matrix(depth, columns, !transposed);
      const at::Tensor start = fp32({rows, columns});
      const at::Tensor whole = start.clone();
      at::set_num_threads(1);
      matrix_product(a, b, true, whole);
      for (const int count : {2, 3, 7, 16, 32}) {
        at::set_num_threads(count);
        const at::Tensor again = start.clone();
        matrix_product(a, b, true, again);
        EXPECT_TRUE(again.equal(whole)) << rows << " rows, " << count << " threads";
      }
      at::set_num_threads(threads);
    }
  }
}

// The program's own loops, the first block of the depth slowed down where the product begins.
const cpu::Table* loops = nullptr;
enum class Slow { kPacking, kMultiplying };
template <Slow kSlow>
void wait_at_the_beginning(Slow at, const cpu::ProductPart& part) {
  if (at != kSlow || part.begin != 0 || part.column != 0) return;
  if (at == Slow::kMultiplying && part.row != 0) return;
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
}
template <Slow kSlow>
void pack_columns(const cpu::ProductArgs& args, const cpu::ProductPart& part, float* to) {
  wait_at_the_beginning<kSlow>(Slow::kPacking, part);
  loops->pack_columns(args, part, to);
}
template <Slow kSlow>
void multiply_packed(const cpu::ProductArgs& args, const cpu::ProductPart& part, const float* columns,
                     float* rows) {
  wait_at_the_beginning<kSlow>(Slow::kMultiplying, part);
  loops->multiply_packed(args, part, columns, rows);
}
template <Slow kSlow>
cpu::Table slowed() {
  cpu::Table table = *loops;
  table.pack_columns = pack_columns<kSlow>;
  table.multiply_packed = multiply_packed<kSlow>;
  return table;
}

TEST_P(MatrixProduct, NoThreadRunsAheadOfOneThatIsSlow) {
  const int threads = at::get_num_threads();
  loops = &cpu::table();
  const cpu::Table tables[] = {slowed<Slow::kPacking>(), slowed<Slow::kMultiplying>()};
  // Three blocks of the depth and more: two are in memory at a time.
  for (const auto& [rows, columns, depth] :
       {Size{1200, 256, 1024}, Size{24, 32, 20480}, Size{130, 64, 4096}, Size{1200, 1600, 768}}) {
    const at::Tensor a = matrix(rows, depth, false);
    const at::Tensor b = matrix(depth, columns, false);
    const at::Tensor other = matrix(depth, columns, false);
    const at::Tensor whole = fp32({rows, columns});
    at::set_num_threads(1);
    matrix_product(a, b, false, whole);
    for (const cpu::Table& table : tables) {
      for (const int count : {2, 3, 4, 16}) {
        at::set_num_threads(count);
        const at::Tensor again = fp32({rows, columns});
        // Packed columns of the same matrix may still be in memory: who does not wait for them must find
        // another's.
        cpu::use_table(*loops);
        matrix_product(a, other, false, again);
        cpu::use_table(table);
        matrix_product(a, b, false, again);
        EXPECT_TRUE(again.equal(whole)) << rows << " rows, " << count << " threads";
      }
    }
    cpu::use_table(*loops);
  }
  at::set_num_threads(threads);
}

TEST_P(MatrixProduct, OtherRowsAndColumnsChangeNoBit) {
  const at::Tensor a = matrix(500, 300, false);
  const at::Tensor b = matrix(300, 450, true);
  const at::Tensor whole = fp32({500, 450});
  matrix_product(a, b, false, whole);
  const at::Tensor part = fp32({31, 67});
  matrix_product(a.narrow(0, 17, 31), b.narrow(1, 100, 67), false, part);
  EXPECT_TRUE(part.equal(whole.narrow(0, 17, 31).narrow(1, 100, 67)));
}

TEST_P(MatrixProduct, NumbersThatAreNotFiniteStayInTheirRowsAndColumns) {
  const at::Tensor a = matrix(20, 10, false);
  const at::Tensor b = matrix(10, 40, false);
  a[3][4].fill_(std::numeric_limits<double>::infinity());
  b[2][33].fill_(std::numeric_limits<double>::quiet_NaN());
  const at::Tensor out = fp32({20, 40});
  matrix_product(a, b, false, out);
  for (int64_t r = 0; r < 20; ++r) {
    for (int64_t c = 0; c < 40; ++c) {
      EXPECT_EQ(std::isfinite(out[r][c].item<float>()), r != 3 && c != 33) << r << ", " << c;
    }
  }
}

TEST_P(MatrixProduct, SizesThatDoNotFitAreDefects) {
  EXPECT_THROW(matrix_product(fp32({2, 3}), fp32({4, 5}), false, fp32({2, 5})), core::InternalError);
  EXPECT_THROW(matrix_product(fp32({2, 3}), fp32({3, 5}), false, fp32({2, 4})), core::InternalError);
  EXPECT_THROW(matrix_product(fp32({0, 3}), fp32({3, 5}), false, fp32({0, 5})), core::InternalError);
}

std::vector<Variant> fp32_variants() {
  std::vector<Variant> variants;
  for (const Variant& variant : all_variants()) {
    if (variant.dtype == at::kFloat) variants.push_back(variant);
  }
  return variants;
}

INSTANTIATE_TEST_SUITE_P(Variants, MatrixProduct, testing::ValuesIn(fp32_variants()), variant_name);

}  // namespace
}  // namespace ssgpt::kernels
