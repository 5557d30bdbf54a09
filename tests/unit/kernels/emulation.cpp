#include "kernels/emulation.h"

#include "kernels/cuda/launch.cuh"

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <ucontext.h>
#include <vector>

namespace ssgpt::emulation {

Indices current;
OrderOfThreads order_of_threads = OrderOfThreads::kRising;
int launches = 0;
int shared_bytes = 0;

namespace {

constexpr unsigned kWarp = 32;
constexpr unsigned kMostThreads = 1024;
constexpr unsigned kMostBlocksAcross = 65535;  // in y and z
constexpr size_t kStackBytes = size_t{64} << 10;

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Fiber {
  ucontext_t context{};
  std::vector<char> stack;
  State state = State::kReady;
  unsigned index = 0;
  uint64_t handed = 0;  // to the other lanes of the warp
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler{};
  const std::function<void()>* body = nullptr;
  Fiber* running = nullptr;
  std::exception_ptr error;
};
Block block;

// With a guard behind it. Bytes of ones are NaN in every dtype.
constexpr size_t kGuardBytes = 1024;
constexpr unsigned char kUnset = 0xff;
std::vector<uint4> dynamic_memory;

void begin_dynamic_memory() {
  const size_t bytes = static_cast<size_t>(shared_bytes) + kGuardBytes;
  dynamic_memory.resize((bytes + sizeof(uint4) - 1) / sizeof(uint4));
  std::memset(dynamic_memory.data(), kUnset, dynamic_memory.size() * sizeof(uint4));
}

void check_dynamic_memory() {
  const auto* bytes = reinterpret_cast<const unsigned char*>(dynamic_memory.data());
  const auto* guard = bytes + shared_bytes;
  if (!std::all_of(guard, guard + kGuardBytes, [](unsigned char byte) { return byte == kUnset; })) {
    throw std::logic_error("written beyond the shared memory");
  }
}

void set_indices(unsigned index) {
  const dim3 size = current.block_size;
  current.thread = {index % size.x, index / size.x % size.y, index / (size.x * size.y)};
}

void run_fiber() {
  try {
    (*block.body)();
  } catch (...) {
    block.error = std::current_exception();
  }
  block.running->state = State::kDone;
}

void pause_as(State state) {
  block.running->state = state;
  swapcontext(&block.running->context, &block.scheduler);
}

void resume(Fiber& fiber) {
  block.running = &fiber;
  fiber.state = State::kReady;
  set_indices(fiber.index);
  swapcontext(&block.scheduler, &fiber.context);
}

std::vector<size_t> order(size_t count) {
  static std::mt19937 random(1);
  std::vector<size_t> indices(count);
  std::iota(indices.begin(), indices.end(), size_t{0});
  if (order_of_threads == OrderOfThreads::kFalling) std::reverse(indices.begin(), indices.end());
  if (order_of_threads == OrderOfThreads::kShuffled) std::shuffle(indices.begin(), indices.end(), random);
  return indices;
}

// Lets those that wait in [begin, end) go on, if all of them wait as `state`. Returns whether it did.
bool release(size_t begin, size_t end, State state) {
  for (size_t i = begin; i < end; ++i) {
    if (block.fibers[i].state != state) return false;
  }
  for (size_t i = begin; i < end; ++i) block.fibers[i].state = State::kReady;
  return true;
}

bool release_waiting() {
  bool released = release(0, block.fibers.size(), State::kAtBlockBarrier);
  for (size_t begin = 0; begin < block.fibers.size(); begin += kWarp) {
    released |= release(begin, std::min(begin + kWarp, block.fibers.size()), State::kAtWarpBarrier);
  }
  return released;
}

void run_block(const std::function<void()>& body) {
  block.body = &body;
  begin_dynamic_memory();
  block.error = nullptr;
  for (Fiber& fiber : block.fibers) {
    fiber.state = State::kReady;
    fiber.stack.resize(kStackBytes);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &block.scheduler;
    makecontext(&fiber.context, run_fiber, 0);
  }
  const auto is_done = [](const Fiber& fiber) {
    return fiber.state == State::kDone;
  };
  while (!std::all_of(block.fibers.begin(), block.fibers.end(), is_done)) {
    for (const size_t i : order(block.fibers.size())) {
      if (block.fibers[i].state == State::kReady) resume(block.fibers[i]);
      if (block.error) std::rethrow_exception(block.error);
    }
    if (!release_waiting() && !std::all_of(block.fibers.begin(), block.fibers.end(), is_done)) {
      throw std::logic_error("threads wait at a barrier that others never reach");
    }
  }
  check_dynamic_memory();
}

}  // namespace

void run(const char* name, dim3 grid, dim3 block_size, const std::function<void()>& body) {
  const unsigned threads = block_size.x * block_size.y * block_size.z;
  if (threads == 0 || threads > kMostThreads || grid.x == 0 || grid.x > INT32_MAX || grid.y == 0 ||
      grid.y > kMostBlocksAcross || grid.z == 0 || grid.z > kMostBlocksAcross ||
      shared_bytes > kSharedMemoryOfBlock) {
    throw std::logic_error(std::string(name) + ": a grid that no GPU takes");
  }
  ++launches;
  current.grid_size = grid;
  current.block_size = block_size;
  block.fibers.resize(threads);
  for (unsigned i = 0; i < threads; ++i) block.fibers[i].index = i;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        current.block = {x, y, z};
        try {
          run_block(body);
        } catch (const std::exception& error) {
          throw std::logic_error(std::string(name) + ": " + error.what());
        }
      }
    }
  }
}

void* dynamic_shared() {
  return dynamic_memory.data();
}

void wait_for_block() {
  pause_as(State::kAtBlockBarrier);
}

int lane() {
  return static_cast<int>(block.running->index % kWarp);
}

uint64_t exchange_in_warp(uint64_t bits, int source) {
  Fiber& self = *block.running;
  self.handed = bits;
  pause_as(State::kAtWarpBarrier);
  const size_t other = self.index / kWarp * kWarp + static_cast<size_t>(source);
  if (source < 0 || source >= static_cast<int>(kWarp) || other >= block.fibers.size()) {
    throw std::logic_error("a lane reads from one that is not there");
  }
  const uint64_t result = block.fibers[other].handed;
  pause_as(State::kAtWarpBarrier);  // nobody hands over anew before all have read
  return result;
}

}  // namespace ssgpt::emulation

namespace ssgpt::kernels::cuda {

SharedMemory shared_memory() {
  return {.of_block = emulation::kSharedMemoryOfBlock,
          .of_multiprocessor = 228 << 10,
          .reserved_for_block = 1 << 10};
}

}  // namespace ssgpt::kernels::cuda
