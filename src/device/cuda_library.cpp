#include "device/cuda_library.h"

#include "core/variables.h"
#include "core/version.h"
#include "device/gpu_functions.h"

#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <mutex>
#include <optional>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::device {
namespace {

constexpr const char* kLibrary = "libssgpt_cuda.so";
constexpr const char* kDriver = "libcuda.so.1";
// The library's file, as share_cuda_library() names it to the processes that this one starts.
constexpr const char* kSharedVariable = "SSGPT_CUDA_LIBRARY";

struct Library {
  std::mutex mutex;
  void* handle = nullptr;
  std::string why_not;  // where an attempt to load it failed
};
Library& library() {
  static auto& library =
      *new Library;  // never destroyed: other threads may be using it when the process ends
  return library;
}

// Whether dlopen() did not find the library itself, rather than another one that it needs.
bool is_missing(std::string_view error, const char* name) {
  return error.starts_with(fmt::format("{}: cannot open", name)) &&
         error.ends_with("No such file or directory");
}

// Why the library does not belong to this program; empty if it does.
std::string why_foreign(void* handle) {
  const auto* const functions = static_cast<const GpuFunctions*>(dlsym(handle, kGpuFunctions));
  if (functions == nullptr) return fmt::format("{} is not a part of this program", kLibrary);
  const std::string_view revision = functions->revision();
  if (revision == core::git_revision() &&
      std::string_view(functions->headers_digest()) == core::headers_digest())
    return {};
  return fmt::format(
      "{} is of another build (revision {}) than the program (revision {}); build or install both together",
      kLibrary, revision, core::git_revision());
}

// LibTorch's CUDA library registers itself with the part of LibTorch that is there already. Its symbols are
// global, as they are in a program that is linked with it: cuDNN loads more libraries, which look for them.
void load(Library& into) {
  const std::optional<std::string> shared = core::find_variable(kSharedVariable);
  void* const handle = dlopen(shared ? shared->c_str() : kLibrary, RTLD_LAZY | RTLD_GLOBAL);
  if (handle == nullptr) {
    const std::string why = dlerror();
    into.why_not = is_missing(why, kLibrary)
                       ? fmt::format("this program was built or installed without {}", kLibrary)
                       : fmt::format("{} cannot be loaded: {}", kLibrary, why);
    return;
  }
  into.why_not = why_foreign(handle);
  if (into.why_not.empty()) into.handle = handle;
}

struct NvidiaDriver {
  bool is_there = false;
  std::string why_not;
};
const NvidiaDriver& nvidia_driver() {
  static const NvidiaDriver driver = [] {
    if (dlopen(kDriver, RTLD_LAZY | RTLD_LOCAL) != nullptr)
      return NvidiaDriver{.is_there = true, .why_not = {}};
    const std::string why = dlerror();
    return NvidiaDriver{
        .is_there = false,
        .why_not = is_missing(why, kDriver)
                       ? fmt::format("NVIDIA's driver is not installed ({} was not found)", kDriver)
                       : fmt::format("NVIDIA's driver cannot be loaded: {}", why)};
  }();
  return driver;
}

}  // namespace

bool has_nvidia_driver() {
  return nvidia_driver().is_there;
}

std::string load_cuda_library(WithoutDriver without_driver) {
  if (without_driver == WithoutDriver::kDoNotLoad && !nvidia_driver().is_there)
    return nvidia_driver().why_not;
  Library& the = library();
  const std::lock_guard guard(the.mutex);
  if (the.handle == nullptr && the.why_not.empty()) load(the);
  return the.why_not;
}

void share_cuda_library() {
  Library& the = library();
  const std::lock_guard guard(the.mutex);
  link_map* loaded = nullptr;
  if (the.handle == nullptr || dlinfo(the.handle, RTLD_DI_LINKMAP, &loaded) != 0) return;
  // $ORIGIN in the library's RUNPATH is then /proc/self/fd, but what lies beside it is loaded with the
  // program already.
  const int descriptor = ::open(loaded->l_name, O_RDONLY);  // inherited: not closed by exec()
  if (descriptor >= 0)
    setenv(kSharedVariable, fmt::format("/proc/self/fd/{}", descriptor).c_str(), /*overwrite=*/1);
}

const void* cuda_symbol(const char* name) {
  Library& the = library();
  const std::lock_guard guard(the.mutex);
  return the.handle == nullptr ? nullptr : dlsym(the.handle, name);
}

}  // namespace ssgpt::device
