#include "parallel/gradient_reduction.h"

#include "core/check.h"
#include "core/profile.h"
#include "kernels/ops.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <ATen/ops/zeros.h>

namespace ssgpt::parallel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kAlignment = 32;  // fp32 elements: 128 bytes
// With only one or two buckets, a small model would have nothing in flight until backward is nearly done.
constexpr int64_t kFewestBuckets = 8;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

std::vector<core::Range> plan_buckets(int64_t size, int64_t bucket_size, int64_t alignment) {
  SSGPT_CHECK(size > 0 && alignment > 0 && size % alignment == 0, "{} elements are no multiple of {}", size,
              alignment);
  const int64_t step = std::max(alignment, bucket_size / alignment * alignment);
  std::vector<core::Range> buckets;
  for (int64_t end = size; end > 0; end -= step) {
    buckets.push_back({.begin = std::max<int64_t>(0, end - step), .end = end});
  }
  return buckets;
}

std::vector<core::Range> owned_ranges(const std::vector<core::Range>& buckets, int64_t rank,
                                      int64_t world_size) {
  std::vector<core::Range> owned;
  for (const core::Range& bucket : buckets) {
    SSGPT_CHECK(bucket.size() % world_size == 0, "a bucket of {} elements for {} ranks", bucket.size(),
                world_size);
    const int64_t piece = bucket.size() / world_size;
    owned.push_back({.begin = bucket.begin + rank * piece, .end = bucket.begin + (rank + 1) * piece});
  }
  std::sort(owned.begin(), owned.end(),
            [](const core::Range& a, const core::Range& b) { return a.begin < b.begin; });
  return owned;
}

int64_t flat_alignment(int64_t world_size) {
  return kAlignment * world_size;
}

GradientReduction::GradientReduction(Communicator& communicator, at::Tensor grad, const Options& options)
    : communicator_(communicator),
      grad_(std::move(grad)),
      shard_(options.shard && communicator.world_size() > 1) {
  const int64_t alignment = shard_ ? flat_alignment(communicator.world_size()) : kAlignment;
  const auto wanted = static_cast<int64_t>(options.bucket_mb * (1 << 20) / sizeof(float));
  const int64_t largest = (grad_.numel() / alignment + kFewestBuckets - 1) / kFewestBuckets * alignment;
  buckets_ = plan_buckets(grad_.numel(), std::min(wanted, largest), alignment);
  owned_ = shard_ ? owned_ranges(buckets_, communicator.rank(), communicator.world_size())
                  : std::vector<core::Range>{{.begin = 0, .end = grad_.numel()}};
  if (!grad_.is_cpu() && communicator.environment().launcher != Launcher::kNone) {
    clock_ = std::make_unique<StreamClock>(grad_.device());
  }
}

Pending GradientReduction::start(const std::function<Pending(Collectives&)>& operation) {
  Collectives& collectives = communicator_.collectives();
  if (!clock_) return operation(collectives);
  return clock_->follow([&] { return operation(collectives); });
}

void GradientReduction::final_from(int64_t offset) {
  while (started_.size() < buckets_.size() && buckets_[started_.size()].begin >= offset) {
    const core::Range& bucket = buckets_[started_.size()];
    const at::Tensor slice = grad_.narrow(0, bucket.begin, bucket.size());
    started_.push_back(start([&](Collectives& collectives) {
      return shard_ ? collectives.start_reduce_scatter(slice) : collectives.start_all_reduce(slice);
    }));
  }
}

void GradientReduction::finish() {
  SSGPT_CHECK(started_.size() == buckets_.size(), "the gradient is not final: {} of {} buckets",
              started_.size(), buckets_.size());
  const core::ProfileScope scope("reduce");
  wait_for(started_);
}

void GradientReduction::wait_for(std::vector<Pending>& pending) {
  const auto wait_for_all = [&] {
    for (Pending& operation : pending) operation.wait();
  };
  if (clock_) {
    clock_->wait(wait_for_all);
    pending.clear();
    return;
  }
  const Clock::time_point begin = Clock::now();
  wait_for_all();
  const double waited = seconds_between(begin, Clock::now());
  std::vector<Interval> intervals;
  for (const Pending& operation : pending) {  // in the order of their start
    intervals.push_back({.begin = seconds_between(begin, operation.started()),
                         .end = seconds_between(begin, operation.ended())});
  }
  pending.clear();
  if (covered(intervals) == 0.0) return;  // a single process has nothing to do
  // On a busy CPU this thread goes on some time after the last operation has ended: communication costs that
  // too.
  intervals.push_back({.begin = 0.0, .end = waited});
  host_time_.exposed += waited;
  host_time_.total += covered(intervals);
}

at::Tensor GradientReduction::squared_norm() {
  at::Tensor sum = at::zeros({1}, grad_.options().dtype(at::kDouble));
  for (const core::Range& range : owned_) {
    sum.add_(kernels::squared_norm(grad_.narrow(0, range.begin, range.size())));
  }
  if (shard_) {
    std::vector<Pending> pending;
    pending.push_back(start([&](Collectives& collectives) { return collectives.start_all_reduce(sum); }));
    wait_for(pending);
  }
  return sum;
}

void GradientReduction::gather(const at::Tensor& flat) {
  if (!shard_) return;
  SSGPT_CHECK(flat.sizes() == grad_.sizes(), "a flat tensor of another size");
  const core::ProfileScope scope("gather");
  std::vector<Pending> pending;
  for (const core::Range& bucket : buckets_) {
    pending.push_back(start([&](Collectives& collectives) {
      return collectives.start_all_gather(flat.narrow(0, bucket.begin, bucket.size()));
    }));
  }
  wait_for(pending);
}

}  // namespace ssgpt::parallel
