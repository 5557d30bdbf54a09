#include "device/large_pages.h"

#include "core/error.h"
#include "core/round_up.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

namespace ssgpt::device {
namespace {

constexpr int64_t kLargePage = int64_t{2} << 20;

// Fresh memory that begins at a multiple of kLargePage. `bytes`: a multiple of the system's page.
void* map_aligned(int64_t bytes) {
  const auto reserved = static_cast<size_t>(bytes + kLargePage);
  void* const mapped = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    throw core::RunError("There is no memory for {} more bytes: {}.", bytes, std::strerror(errno));
  }
  char* const begin = static_cast<char*>(mapped);
  const int64_t head = core::round_up(static_cast<int64_t>(reinterpret_cast<uintptr_t>(mapped)), kLargePage) -
                       static_cast<int64_t>(reinterpret_cast<uintptr_t>(mapped));
  if (head > 0) ::munmap(begin, static_cast<size_t>(head));
  if (head < kLargePage) ::munmap(begin + head + bytes, static_cast<size_t>(kLargePage - head));
  return begin + head;
}

}  // namespace

at::Tensor empty_held(at::IntArrayRef shape, const at::TensorOptions& options) {
  int64_t bytes = static_cast<int64_t>(options.dtype().itemsize());
  for (const int64_t size : shape) bytes *= size;
  if (!options.device().is_cpu() || bytes < kLargePage) return at::empty(shape, options);
  const int64_t mapped = core::round_up(bytes, ::sysconf(_SC_PAGESIZE));
  void* const memory = map_aligned(mapped);
  // A wish: a system without large pages, or short of them, serves the memory all the same.
  (void)::madvise(memory, static_cast<size_t>(mapped), MADV_HUGEPAGE);
  return at::from_blob(
      memory, shape, [mapped](void* data) { ::munmap(data, static_cast<size_t>(mapped)); }, options);
}

at::Tensor zeros_held(at::IntArrayRef shape, const at::TensorOptions& options) {
  return empty_held(shape, options).zero_();
}

}  // namespace ssgpt::device
