#include "device/cuda_library.h"

#include "core/version.h"
#include "device/gpu_functions.h"

#include <cstring>
#include <dlfcn.h>
#include <mutex>

#include <fmt/format.h>

namespace ssgpt::device {
namespace {

constexpr const char* kLibrary = "libssgpt_cuda.so";
constexpr const char* kDriver = "libcuda.so.1";

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

// A library of another revision may have other tables behind the same names.
std::string why_of_another_build(void* handle) {
  const auto* const functions = static_cast<const GpuFunctions*>(dlsym(handle, kGpuFunctions));
  if (functions == nullptr) return fmt::format("{} is not a part of this program", kLibrary);
  const char* const revision = functions->revision();
  if (std::strcmp(revision, core::git_revision()) == 0) return {};
  return fmt::format("{} is of revision {}, and the program of revision {}; build or install both together",
                     kLibrary, revision, core::git_revision());
}

// LibTorch's CUDA library registers itself with the part of LibTorch that is there already. Its symbols are
// global, as they are in a program that is linked with it: cuDNN loads more libraries, which look for them.
void load(Library& into) {
  void* const handle = dlopen(kLibrary, RTLD_LAZY | RTLD_GLOBAL);
  if (handle == nullptr) {
    const std::string why = dlerror();
    into.why_not = why.starts_with(fmt::format("{}: cannot open", kLibrary))
                       ? fmt::format("this program was built or installed without {}", kLibrary)
                       : fmt::format("{} cannot be loaded: {}", kLibrary, why);
    return;
  }
  into.why_not = why_of_another_build(handle);
  if (into.why_not.empty()) into.handle = handle;
}

}  // namespace

bool has_nvidia_driver() {
  static const bool has_driver = dlopen(kDriver, RTLD_LAZY | RTLD_LOCAL) != nullptr;  // stays loaded
  return has_driver;
}

std::string load_cuda_library(WithoutDriver without_driver) {
  if (without_driver == WithoutDriver::kDoNotLoad && !has_nvidia_driver()) {
    return fmt::format("NVIDIA's driver is not installed ({} was not found)", kDriver);
  }
  Library& the = library();
  const std::lock_guard guard(the.mutex);
  if (the.handle == nullptr && the.why_not.empty()) load(the);
  return the.why_not;
}

const void* cuda_symbol(const char* name) {
  Library& the = library();
  const std::lock_guard guard(the.mutex);
  return the.handle == nullptr ? nullptr : dlsym(the.handle, name);
}

}  // namespace ssgpt::device
