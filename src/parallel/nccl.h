// What libssgpt_cuda.so provides to this folder.
#pragma once

#include "parallel/environment.h"

#include <chrono>

#include <c10/core/Device.h>
#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Backend;
class Store;
}  // namespace c10d

namespace ssgpt::parallel {

struct NcclFunctions {
  // Connects this rank's GPU to the others by NCCL. Throws c10::Error where a rank cannot be reached within
  // the timeout.
  c10::intrusive_ptr<c10d::Backend> (*connect)(c10d::Store& store, const Environment& environment,
                                               c10::Device device, std::chrono::milliseconds timeout);
};
inline constexpr const char* kNcclFunctions = "ssgpt_nccl_functions";

}  // namespace ssgpt::parallel
