// Part of libssgpt_cuda.so.

#include "parallel/nccl.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace ssgpt::parallel {
namespace {

c10::intrusive_ptr<c10d::Backend> connect(c10d::Store& store, const Environment& environment,
                                          c10::Device device, std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
  options->timeout = timeout;
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(
      c10::intrusive_ptr<c10d::Store>::reclaim_copy(&store), static_cast<int>(environment.rank),
      static_cast<int>(environment.world_size), options);
  backend->eagerConnectSingleDevice(device);  // finds unreachable machines here
  return backend;
}

}  // namespace

extern "C" const NcclFunctions ssgpt_nccl_functions;
const NcclFunctions ssgpt_nccl_functions = {.connect = connect};

}  // namespace ssgpt::parallel
