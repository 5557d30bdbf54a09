// Loads libssgpt_cuda.so, the part of this program that is linked with CUDA: the CUDA kernels, GEMMs by
// cuBLASLt, NCCL, and LibTorch's own CUDA library with all that it needs. A process without a GPU does
// without them: they take 230 MiB of memory and 0.15 s at the start, and a PyTorch built for CPUs does not
// have them.
#pragma once

#include "core/check.h"

#include <string>

namespace ssgpt::device {

// Whether to load the library on a machine without NVIDIA's driver, where it cannot use a GPU but knows the
// versions of the libraries that it brings.
enum class WithoutDriver { kDoNotLoad, kLoad };

// Loads the library unless it is loaded, as the loader finds it: in LD_LIBRARY_PATH or in the program's
// RUNPATH, which names the program's own folder. Returns an empty text, or why it is not loaded. Call this
// before anything asks ATen for CUDA, because ATen keeps its first answer: a program calls it first. May be
// called by several threads.
std::string load_cuda_library(WithoutDriver without_driver = WithoutDriver::kDoNotLoad);

// Whether NVIDIA's driver is installed. There may be no GPU all the same.
bool has_nvidia_driver();

// Processes that this one starts from now on load the library that this one has loaded, even if another build
// has replaced its file: for a program that starts itself, which is not replaced either (/proc/self/exe).
// Does nothing if none is loaded. Call it before other threads read the environment.
void share_cuda_library();

// Address of a symbol that the library exports; null if the library is not loaded or has no such symbol.
const void* cuda_symbol(const char* name);

// A table of functions that the library exports under this name. Throws core::InternalError if it is not
// loaded.
template <typename Functions>
const Functions& cuda_functions(const char* name) {
  const void* const symbol = cuda_symbol(name);
  SSGPT_CHECK(symbol != nullptr, "{} is asked for, and libssgpt_cuda.so is not loaded", name);
  return *static_cast<const Functions*>(symbol);
}

}  // namespace ssgpt::device
