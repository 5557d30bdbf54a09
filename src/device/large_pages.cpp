#include "device/large_pages.h"

#include "core/round_up.h"

#include <cstdint>
#include <optional>
#include <sys/mman.h>
#include <unistd.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

namespace ssgpt::device {
namespace {

constexpr int64_t kLargePage = int64_t{2} << 20;

// Maps fresh memory aligned to kLargePage; null on failure. `bytes` is a multiple of the system's page size.
void* map_aligned(int64_t bytes) {
  const auto reserved = static_cast<size_t>(bytes + kLargePage);
  void* const mapped = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  const auto address = static_cast<int64_t>(reinterpret_cast<uintptr_t>(mapped));
  const int64_t head = core::round_up(address, kLargePage) - address;
  if (head > 0) ::munmap(begin, static_cast<size_t>(head));
  if (head < kLargePage) ::munmap(begin + head + bytes, static_cast<size_t>(kLargePage - head));
  return begin + head;
}

// Bytes of a tensor, rounded up to whole system pages; nullopt where the shape exceeds any memory.
std::optional<int64_t> mapped_size(at::IntArrayRef shape, const at::TensorOptions& options) {
  constexpr int64_t kMost = int64_t{1} << 46;
  int64_t bytes = static_cast<int64_t>(options.dtype().itemsize());
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes) || bytes > kMost) return std::nullopt;
  }
  return core::round_up(bytes, ::sysconf(_SC_PAGESIZE));
}

}  // namespace

at::Tensor empty_held(at::IntArrayRef shape, const at::TensorOptions& options) {
  const std::optional<int64_t> bytes = mapped_size(shape, options);
  const bool is_large = options.device().is_cpu() && bytes && *bytes >= kLargePage;
  void* const memory = is_large ? map_aligned(*bytes) : nullptr;
  if (memory == nullptr) return at::empty(shape, options);  // or throws its error
  // Only a hint: the memory is usable even if the system has no large pages or is short of them.
  (void)::madvise(memory, static_cast<size_t>(*bytes), MADV_HUGEPAGE);
  return at::from_blob(
      memory, shape, [size = static_cast<size_t>(*bytes)](void* data) { ::munmap(data, size); }, options);
}

at::Tensor zeros_held(at::IntArrayRef shape, const at::TensorOptions& options) {
  return empty_held(shape, options).zero_();
}

}  // namespace ssgpt::device
