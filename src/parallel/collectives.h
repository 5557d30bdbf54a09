// Collective operations on tensors: c10d's NCCL on GPUs, Gloo on CPUs. Knows no gradients.
#pragma once

#include "parallel/heartbeat.h"
#include "parallel/store.h"

#include <chrono>
#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ssgpt::parallel {

// A collective under way. Its tensors must not be touched before wait() has returned.
class Pending {
 public:
  struct State;
  Pending() = default;  // of one process: nothing to wait for
  explicit Pending(std::shared_ptr<State> state) : state_(std::move(state)) {}

  // On a CPU waits for the result; on a GPU makes the current stream wait for it. Throws PeerFailure where a
  // rank is lost or does not come within the timeout.
  void wait();

  // When it was started and when it ended, of a CPU's collective after wait(); equal where there was nothing
  // to do.
  std::chrono::steady_clock::time_point started() const;
  std::chrono::steady_clock::time_point ended() const;

 private:
  std::shared_ptr<State> state_;
};

// All ranks make the same calls in the same order with tensors of the same sizes. Tensors are contiguous and
// on the device of the group.
class Collectives {
 public:
  Collectives();  // of one process: every call returns at once, and leaves its tensors as they are

  // Connects to all ranks. `store`: a connection of its own. `heartbeat` outlives it. Throws PeerFailure
  // where a rank does not come within the timeout.
  Collectives(std::unique_ptr<Store> store, const Environment& environment, at::Device device,
              std::chrono::duration<double> timeout, Heartbeat& heartbeat);
  ~Collectives();
  Collectives(Collectives&&) noexcept;
  Collectives& operator=(Collectives&&) noexcept;

  // The ordinary end, on all ranks, with nothing under way: no call follows. Without it the destructor gives
  // up what is under way, as after an error.
  void close();

  // The sum over ranks, in place, fp32, fp64 or int64; the same bits on every rank.
  Pending start_all_reduce(const at::Tensor& tensor);

  // tensor (R * n): piece r of n elements, on rank r, becomes the sum of that piece over ranks; what the
  // other pieces hold afterwards is undefined.
  Pending start_reduce_scatter(const at::Tensor& tensor);

  // tensor (R * n): piece r of every rank becomes what it is on rank r.
  Pending start_all_gather(const at::Tensor& tensor);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::parallel
