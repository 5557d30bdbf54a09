// Collective operations on tensors: c10d's NCCL on GPUs, Gloo on CPUs. Not responsible for gradients.
#pragma once

#include "parallel/heartbeat.h"
#include "parallel/store.h"

#include <chrono>
#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ssgpt::parallel {

// A collective in flight. Its tensors must not be touched before wait() has returned.
class Pending {
 public:
  struct State;
  Pending() = default;  // for a single process: nothing to wait for
  explicit Pending(std::shared_ptr<State> state) : state_(std::move(state)) {}

  // On a CPU, waits for the result; on a GPU, makes the current stream wait for it. Throws PeerFailure if a
  // rank is lost or does not arrive within the timeout.
  void wait();

  // Start and end times of a CPU collective, valid after wait(); equal if there was nothing to do.
  std::chrono::steady_clock::time_point started() const;
  std::chrono::steady_clock::time_point ended() const;

 private:
  std::shared_ptr<State> state_;
};

// All ranks make the same calls in the same order with tensors of the same sizes. Tensors are contiguous and
// on the device of the group.
class Collectives {
 public:
  Collectives();  // for a single process: every call returns at once and leaves its tensors unchanged

  // Connects to all ranks. `store`: a connection for this object alone. `heartbeat` must outlive it. Throws
  // PeerFailure if a rank does not arrive within the timeout.
  Collectives(std::unique_ptr<Store> store, const Environment& environment, at::Device device,
              std::chrono::duration<double> timeout, Heartbeat& heartbeat);
  ~Collectives();
  Collectives(Collectives&&) noexcept;
  Collectives& operator=(Collectives&&) noexcept;

  // Orderly shutdown, on all ranks, with nothing in flight; no call may follow. Without it the destructor
  // abandons whatever is in flight, as after an error.
  void close();

  // In-place sum over ranks, fp32, fp64 or int64, with the same bits on every rank.
  Pending start_all_reduce(const at::Tensor& tensor);

  // tensor (R * n): on rank r, piece r of n elements becomes the sum of that piece over ranks; the contents
  // of the other pieces are undefined afterwards.
  Pending start_reduce_scatter(const at::Tensor& tensor);

  // tensor (R * n): on every rank, piece r becomes a copy of rank r's piece r.
  Pending start_all_gather(const at::Tensor& tensor);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::parallel
