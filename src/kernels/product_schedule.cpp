#include "kernels/product_schedule.h"

#include "device/large_pages.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>

namespace ssgpt::kernels {
namespace {

using cpu::divide_up;
using cpu::kDepthBlock;
using cpu::kProductColumnUnit;
using cpu::kProductRowUnit;
using cpu::ProductArgs;
using cpu::ProductPart;

// [0, size) in `number` parts of sizes as equal as multiples of `unit` allow.
struct Parts {
  int64_t size, unit, number;
  int64_t begin(int64_t index) const { return std::min(size, divide_up(size, unit) * index / number * unit); }
  int64_t count(int64_t index) const { return begin(index + 1) - begin(index); }
};

Parts divide(int64_t size, int64_t unit, int64_t number) {
  return {size, unit, std::clamp<int64_t>(number, 1, divide_up(size, unit))};
}

// Per-thread fp32 memory, kept for the life of the thread: a GEMM is too short to allocate for each one.
float* at_least(int64_t elements, at::Tensor& memory) {
  if (!memory.defined() || memory.numel() < elements) {
    memory = at::Tensor();
    memory = device::empty_held({elements}, at::kFloat);
  }
  return memory.data_ptr<float>();
}
float* columns_scratch(int64_t elements) {
  thread_local at::Tensor memory;
  return at_least(elements, memory);
}
float* rows_scratch() {
  thread_local at::Tensor memory;
  return at_least(cpu::kPackedRowsSize, memory);
}

// Number of elements of packed columns.
int64_t packed_size(int64_t columns) {
  return cpu::round_up(columns, kProductColumnUnit) * kDepthBlock;
}

// Runs work(index, rows) for [0, tasks), started in this order, on at most `threads` threads; each task goes
// to the next free thread, since static shares would wait for the slowest. rows: the thread's own memory for
// packed rows. It is allocated before the thread takes a task, so that a failed allocation leaves no task
// taken but not done.
template <typename Work>
void for_each_task(int64_t threads, int64_t tasks, const Work& work) {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(threads, tasks), 1, [&](int64_t, int64_t) {
    float* const rows = rows_scratch();
    for (int64_t index = next++; index < tasks; index = next++) work(index, rows);
  });
}

// Few rows relative to the columns: each task packs its own columns, which stay in its thread's cache, and
// multiplies all rows with them. The GEMMs have the same rows and columns and run at the same time.
void multiply_by_columns(const std::vector<ProductArgs>& products, int64_t rows, const Parts& parts,
                         int64_t threads) {
  const auto tasks = static_cast<int64_t>(products.size()) * parts.number;
  for_each_task(threads, tasks, [&](int64_t task, float* packed_rows) {
    const ProductArgs& args = products[static_cast<size_t>(task / parts.number)];
    const int64_t index = task % parts.number;
    float* const packed = columns_scratch(packed_size(parts.count(index)));
    for (int64_t begin = 0; begin < args.depth; begin += kDepthBlock) {
      const ProductPart part = {.row = 0,
                                .rows = rows,
                                .column = parts.begin(index),
                                .columns = parts.count(index),
                                .begin = begin,
                                .depth = std::min(kDepthBlock, args.depth - begin),
                                .packs_next_rows = true,
                                .packs_next_columns = true};
      cpu::table().pack_columns(args, part, packed);
      cpu::table().multiply_packed(args, part, packed, packed_rows);
    }
  });
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();  // leaves the core to its sibling hyperthread
#endif
}

// Progress of a part of a shared GEMM: a monotonic counter in its own cache line.
struct alignas(64) Progress {
  std::atomic<int64_t> value = 0;

  void add(int64_t done) { value.fetch_add(done, std::memory_order_release); }
  // Other threads are working on it and need at most a fraction of a millisecond, unless preempted.
  void wait_for(int64_t least) const {
    constexpr int kSpins = 2000;
    int spins = 0;
    while (value.load(std::memory_order_acquire) < least) {
      if (spins < kSpins) {
        ++spins;
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }
};

// Columns that a task packs for all threads.
constexpr int64_t kPackedAtOnce = 2 * kProductColumnUnit;

// Many rows: all threads pack the columns once, and each task multiplies some rows with all of them. A phase
// is one slab of columns over one block of the depth; its columns are packed, into the other of two buffers,
// while the last rows of the previous phase are multiplied. Tasks are taken in order and wait for earlier
// ones only, so the earliest unfinished task can always proceed, however few threads there are. Each phase
// has its own counters, because rows of a phase may finish before others of the previous phase.
class SharedProduct {
 public:
  SharedProduct(const ProductArgs& args, const Parts& rows, const Parts& slabs)
      : args_(args),
        rows_(rows),
        slabs_(slabs),
        depths_(divide_up(args.depth, kDepthBlock)),
        widest_(divide_up(divide_up(slabs.size, slabs.unit), slabs.number) * slabs.unit),
        packs_(divide_up(widest_, kPackedAtOnce)),
        buffers_{columns_scratch(2 * packed_size(widest_)), nullptr},
        packed_(static_cast<size_t>(depths_ * slabs.number)),
        multiplied_(packed_.size()),
        phases_of_rows_(static_cast<size_t>(rows.number)) {
    buffers_[1] = buffers_[0] + packed_size(widest_);
  }

  void run(int64_t threads) {
    const int64_t in_phase = packs_ + rows_.number;
    for_each_task(threads, in_phase * depths_ * slabs_.number, [&](int64_t task, float* packed_rows) {
      const int64_t phase = task / in_phase;
      const int64_t index = task % in_phase;
      if (index < packs_) {
        pack(phase, index);
      } else {
        multiply(phase, index - packs_, packed_rows);
      }
    });
  }

 private:
  // The part for all rows.
  ProductPart part_of(int64_t phase) const {
    const int64_t slab = phase / depths_;
    const int64_t begin = phase % depths_ * kDepthBlock;
    return {.row = 0,
            .rows = rows_.size,
            .column = slabs_.begin(slab),
            .columns = slabs_.count(slab),
            .begin = begin,
            .depth = std::min(kDepthBlock, args_.depth - begin)};
  }
  float* buffer(int64_t phase) const { return buffers_[static_cast<size_t>(phase % 2)]; }

  void pack(int64_t phase, int64_t index) {
    // Wait until nothing reads the buffer that this overwrites.
    if (phase >= 2) of(multiplied_, phase - 2).wait_for(rows_.number);
    ProductPart part = part_of(phase);
    const int64_t offset = index * kPackedAtOnce;
    if (offset < part.columns) {
      part.column += offset;
      part.columns = std::min(kPackedAtOnce, part.columns - offset);
      cpu::table().pack_columns(args_, part, buffer(phase) + offset * part.depth);
    }
    of(packed_, phase).add(1);
  }

  void multiply(int64_t phase, int64_t index, float* packed_rows) {
    of(packed_, phase).wait_for(packs_);
    of(phases_of_rows_, index).wait_for(phase);  // blocks of the depth are added in order
    ProductPart part = part_of(phase);
    part.row = rows_.begin(index);
    part.rows = rows_.count(index);
    cpu::table().multiply_packed(args_, part, buffer(phase), packed_rows);
    of(phases_of_rows_, index).add(1);
    of(multiplied_, phase).add(1);
  }

  static Progress& of(std::vector<Progress>& all, int64_t index) { return all[static_cast<size_t>(index)]; }

  const ProductArgs& args_;
  const Parts rows_;
  const Parts slabs_;
  const int64_t depths_;
  const int64_t widest_;  // maximum columns per slab
  const int64_t packs_;   // packing tasks per slab
  std::array<float*, 2> buffers_;
  std::vector<Progress> packed_;          // per phase: packing tasks done
  std::vector<Progress> multiplied_;      // per phase: row parts done
  std::vector<Progress> phases_of_rows_;  // per row part: phases done
};

// Many rows, few columns and several blocks of the depth: all threads pack the columns of all blocks once,
// and each task multiplies a band of rows with one block after the other, so that the band's partial sums
// stay in its thread's L2 cache.
void multiply_by_bands(const ProductArgs& args, int64_t columns, const Parts& bands, int64_t threads) {
  const int64_t blocks = divide_up(args.depth, kDepthBlock);
  const int64_t packs = divide_up(columns, kPackedAtOnce);
  float* const packed = columns_scratch(blocks * packed_size(columns));
  std::vector<Progress> packs_done(static_cast<size_t>(blocks));
  for_each_task(threads, blocks * packs + bands.number, [&](int64_t task, float* packed_rows) {
    const auto part_of = [&](int64_t block) -> ProductPart {
      const int64_t begin = block * kDepthBlock;
      return {.row = 0,
              .rows = bands.size,
              .column = 0,
              .columns = columns,
              .begin = begin,
              .depth = std::min(kDepthBlock, args.depth - begin),
              .packs_next_rows = true};
    };
    if (task < blocks * packs) {
      const int64_t block = task / packs;
      ProductPart part = part_of(block);
      part.column = task % packs * kPackedAtOnce;
      part.columns = std::min(kPackedAtOnce, columns - part.column);
      cpu::table().pack_columns(args, part, packed + block * packed_size(columns) + part.column * part.depth);
      packs_done[static_cast<size_t>(block)].add(1);
      return;
    }
    const int64_t band = task - blocks * packs;
    for (int64_t block = 0; block < blocks; ++block) {
      packs_done[static_cast<size_t>(block)].wait_for(packs);
      ProductPart part = part_of(block);
      part.row = bands.begin(band);
      part.rows = bands.count(band);
      cpu::table().multiply_packed(args, part, packed + block * packed_size(columns), packed_rows);
    }
  });
}

// Maximum columns that a task packs for itself.
constexpr int64_t kOwnColumns = 768;
// Maximum columns per slab: as many as two buffers of 1.5 MiB hold or, if the depth has several blocks and a
// thread few rows, half of that, so that the partial sums stay in its L2 cache from block to block.
constexpr int64_t kWidestSlab = 1536;
constexpr int64_t kNarrowSlab = 768;
constexpr int64_t kFewRows = 384;

// Whether partial sums would leave the threads' L2 caches between blocks of the depth, while the columns of
// all blocks occupy no more than two slabs do. Of an `a` that is contiguous across the depth, which is packed
// many rows at a time, bands make GEMMs slower.
bool is_for_bands(const ProductArgs& args, int64_t rows, int64_t columns, int64_t threads) {
  constexpr int64_t kMostColumns = 384;  // a block of them, and the sums of a band: 0.7 of 1 MiB
  const int64_t blocks = divide_up(args.depth, kDepthBlock);
  return args.a.depth_stride == 1 && blocks > 1 && rows > kFewRows * threads && columns <= kMostColumns &&
         blocks * packed_size(columns) <= 2 * packed_size(kWidestSlab);
}

// Cost of packing one element in multiply-add slots, measured on a Xeon with AVX-512.
constexpr double kPackingCost = 30.0;

struct Cut {
  Parts parts;
  double cost;  // of the busiest thread: multiply-adds per unit of depth
};

// The best division of the columns of `products` GEMMs of this size.
Cut cut_by_columns(int64_t products, int64_t rows, int64_t columns, int64_t threads) {
  // All tasks together are a multiple of the threads.
  const int64_t wanted =
      cpu::round_up(divide_up(columns, kOwnColumns), threads / std::gcd(threads, products));
  const Parts parts = divide(columns, kProductColumnUnit, wanted);
  const auto mine = static_cast<double>(divide_up(products * parts.number, threads));
  const double width = static_cast<double>(columns) / static_cast<double>(parts.number);
  const auto height = static_cast<double>(rows);
  return {parts, mine * (height * width + kPackingCost * (height + width))};
}

// `slabs`: partition of the columns.
Cut cut_by_rows(int64_t rows, const Parts& slabs, int64_t threads) {
  constexpr int64_t kTasksOfThread = 2;  // per phase, so that no thread waits long for another
  const int64_t most = divide_up(rows, cpu::kPackedRows);
  const int64_t wanted = threads == 1 ? most : std::max(most, kTasksOfThread * threads);
  const Parts parts = divide(rows, kProductRowUnit, cpu::round_up(wanted, threads));
  const auto width = static_cast<double>(slabs.size);
  const double height =
      static_cast<double>(rows * divide_up(parts.number, threads)) / static_cast<double>(parts.number);
  // What a thread does not pack itself it reads from another core's cache, which costs about as much.
  const double packed = height * static_cast<double>(slabs.number) + width;
  return {parts, height * width + kPackingCost * packed};
}

// Threads that have enough to do: waking one for less work than this costs more than it saves.
int64_t useful_threads(const ProductArgs& args, int64_t rows, int64_t columns) {
  constexpr double kLeastOfThread = 1 << 20;
  const double products =
      static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(args.depth);
  return std::clamp<int64_t>(static_cast<int64_t>(products / kLeastOfThread), 1, at::get_num_threads());
}

// GEMMs of one size, at the same time or one after another, whichever is faster.
void multiply_all(const std::vector<ProductArgs>& products, int64_t rows, int64_t columns, int64_t threads) {
  if (is_for_bands(products.front(), rows, columns, threads)) {
    const int64_t bands = cpu::round_up(divide_up(rows, cpu::kPackedRows), threads);
    for (const ProductArgs& args : products) {
      multiply_by_bands(args, columns, divide(rows, kProductRowUnit, bands), threads);
    }
    return;
  }
  const auto number = static_cast<int64_t>(products.size());
  const bool sums_stay = products.front().depth > kDepthBlock && rows <= kFewRows * threads;
  const int64_t widest = sums_stay ? kNarrowSlab : kWidestSlab;
  const Parts slabs = divide(columns, kProductColumnUnit, divide_up(columns, widest));
  const Cut by_columns = cut_by_columns(number, rows, columns, threads);
  const Cut by_rows = cut_by_rows(rows, slabs, threads);
  if (by_columns.cost <= static_cast<double>(number) * by_rows.cost) {
    multiply_by_columns(products, rows, by_columns.parts, threads);
    return;
  }
  for (const ProductArgs& args : products) SharedProduct(args, by_rows.parts, slabs).run(threads);
}

// Whether a GEMM is deep and its result small, as in most weight gradients: the halves of the depth are then
// two GEMMs, whose sums are added, so that two threads need not pack the same rows. The answer does not
// depend on the number of threads.
bool is_halved(const ProductArgs& args, int64_t rows, int64_t columns) {
  constexpr int64_t kDeep = 8 * kDepthBlock;
  constexpr int64_t kSmall = 1 << 21;  // elements, so that the second sum takes at most 8 MiB
  const bool sums_over_rows = args.a.row_stride == 1 && args.b.row_stride == 1;
  return sums_over_rows && args.depth >= kDeep && rows * columns <= kSmall;
}

void multiply_halves(const ProductArgs& args, int64_t rows, int64_t columns, int64_t threads) {
  thread_local at::Tensor memory;
  float* const second = at_least(rows * columns, memory);
  const Parts halves = divide(args.depth, kDepthBlock, 2);
  const int64_t middle = halves.begin(1);
  ProductArgs lower = args;
  lower.depth = middle;
  const ProductArgs upper = {
      .a = {args.a.data + middle * args.a.depth_stride, args.a.row_stride, args.a.depth_stride},
      .b = {args.b.data + middle * args.b.depth_stride, args.b.row_stride, args.b.depth_stride},
      .out = second,
      .out_stride = columns,
      .depth = args.depth - middle,
      .accumulate = false};
  multiply_all({lower, upper}, rows, columns, threads);
  at::parallel_for(0, rows, divide_up(rows, threads), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* const from = second + row * columns;
      float* const to = args.out + row * args.out_stride;
      for (int64_t column = 0; column < columns; ++column) to[column] += from[column];
    }
  });
}

}  // namespace

void multiply_on_cpu(const ProductArgs& args, int64_t rows, int64_t columns) {
  const int64_t threads = useful_threads(args, rows, columns);
  if (is_halved(args, rows, columns)) {
    multiply_halves(args, rows, columns, threads);
  } else {
    multiply_all({args}, rows, columns, threads);
  }
}

}  // namespace ssgpt::kernels
