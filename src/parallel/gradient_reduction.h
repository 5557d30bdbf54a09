// Sums the gradient over ranks while backward still runs: slices of the flat gradient are reduced as soon as
// they are final. With ZeRO-1 (arXiv 1910.02054, "optimizer state partitioning") each rank receives only the
// sum of its share, updates that share of the weights, and gathers the rest. Works on flat tensors;
// independent of models.
#pragma once

#include "core/range.h"
#include "parallel/communication_clock.h"
#include "parallel/communicator.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::parallel {

// Cuts a flat tensor of `size` elements into buckets, from its end to its start, of about `bucket_size`
// elements; each begins and ends at a multiple of `alignment`, which divides `size`.
std::vector<core::Range> plan_buckets(int64_t size, int64_t bucket_size, int64_t alignment);

// The pieces of all buckets that belong to `rank`, sorted: the r-th of `world_size` equal pieces of each
// bucket, r = rank.
std::vector<core::Range> owned_ranges(const std::vector<core::Range>& buckets, int64_t rank,
                                      int64_t world_size);

// The size of flat tensors that are partitioned for ZeRO-1 must be a multiple of this number: every piece of
// every bucket then starts at a multiple of 128 bytes.
int64_t flat_alignment(int64_t world_size);

class GradientReduction {
 public:
  struct Options {
    double bucket_mb = 25.0;  // MiB of fp32; smaller if the gradient would make fewer than eight buckets
    bool shard = false;       // ZeRO-1
  };

  // grad: fp32 (size), kept by reference; on the communicator's device. The communicator must outlive this.
  GradientReduction(Communicator& communicator, at::Tensor grad, const Options& options);

  // The elements that this rank updates: all of them without ZeRO-1.
  const std::vector<core::Range>& owned() const { return owned_; }

  // Called during the last backward pass of a step: the gradient is final on this rank from element `offset`
  // on. Offsets fall, down to 0. Starts every reduction that can start, and does not wait.
  void final_from(int64_t offset);

  // Waits for all reductions; on a GPU, only its current stream does. Afterwards grad holds the sum over
  // ranks in the owned ranges and is undefined elsewhere. Throws PeerFailure.
  void finish();

  // Squared 2-norm of the whole summed gradient, after finish(): fp64 with one element on the device, the
  // same on every rank.
  at::Tensor squared_norm();

  // After an update of the owned ranges: fills the rest of `flat`, fp32 (size), from the ranks that own it. A
  // no-op if every rank updates everything.
  void gather(const at::Tensor& flat);

  // Totals since the start; on a GPU, over the work that it has completed so far.
  CommunicationTime time() const { return clock_ ? clock_->time() : host_time_; }
  int64_t num_buckets() const { return static_cast<int64_t>(buckets_.size()); }

 private:
  Pending start(const std::function<Pending(Collectives&)>& operation);
  void wait_for(std::vector<Pending>& pending);

  Communicator& communicator_;
  const at::Tensor grad_;
  const bool shard_;
  std::vector<core::Range> buckets_;  // in the order in which backward completes them
  std::vector<core::Range> owned_;
  std::vector<Pending> started_;
  CommunicationTime host_time_;
  std::unique_ptr<StreamClock> clock_;  // null without a GPU or launcher
};

}  // namespace ssgpt::parallel
