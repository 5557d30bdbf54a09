// One rank's connection to the others: text exchange, collectives, stop requests and failure reports. Without
// a launcher (a single process) every call is a no-op that costs nothing.
#pragma once

#include "parallel/collectives.h"
#include "parallel/environment.h"
#include "parallel/exchange.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::parallel {

class Communicator {
 public:
  Communicator();  // for a single process
  // Finds and joins the other ranks, within minutes, or throws core::RunError.
  explicit Communicator(const Environment& environment);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int64_t rank() const;
  int64_t world_size() const;
  bool is_main() const { return rank() == 0; }  // whether this rank logs and writes
  const Environment& environment() const;       // local_world_size is filled in

  // For the main thread only.
  Exchange& exchange();
  // A separate exchange for another thread.
  std::unique_ptr<Exchange> make_exchange();

  // Seconds after which an unresponsive rank counts as lost; a start-up default applies before this call.
  void set_timeout(double timeout_s);

  // Connects the ranks for collectives on `device`. Called on all ranks. `timeout_s`: seconds after which an
  // unresponsive rank counts as lost.
  void open(at::Device device, double timeout_s);
  Collectives& collectives();

  // Blocking sums and gathers of single numbers. Called on all ranks, after open().
  double sum(double value);
  std::vector<int64_t> gather(int64_t value);  // indexed by rank, exact to the bit
  std::vector<double> gather_double(double value);

  // Number of steps that the host may be ahead of its GPU when it calls agree_on_stop().
  static constexpr int64_t kStepsAhead = 2;

  // Returns the signal that any rank received, on all ranks after the same step; 0: continue. Every rank
  // calls it after each step with its own signal (0: none). Costs one store query per step. A rank's next
  // step must complete only after all ranks have begun it, as is the case with a collective in it. On a GPU,
  // where steps are queued, the caller has waited for the step kStepsAhead earlier, and the stop comes that
  // many steps later. There a rank that is gone is noticed when the next call is overdue by far.
  int agree_on_stop(int64_t step, int signal);

  // For use while the caller waits for its GPU: throws PeerFailure if another rank failed or is lost.
  void check_peers() const;

  // Orderly end, on all ranks; no collective may follow. Throws PeerFailure if another rank fails before it
  // gets here.
  void finish();
  // Called on rank 0: it will fail() with `message` once the work in progress is complete. Another rank that
  // fails with the same message leaves the report to rank 0, and waits for it.
  void announce(const std::string& message) noexcept;
  // Ends this rank after an error; `message` reaches the other ranks. Returns whether this rank should print
  // it on the terminal: false if rank 0 fails with the same message.
  bool fail(const std::string& message) noexcept;

 private:
  void wait_for_rank_zero(const std::string& message);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Throws core::UsageError on a rank with `differences` from rank 0, naming the rank and the differences; on
// the other ranks, returns only once all ranks are known to have none (else throws PeerFailure). Called on
// all ranks, once per `occasion`.
void agree(Exchange& exchange, std::string_view occasion, const std::vector<std::string>& differences);

// Runs `body` as one rank of `environment`: connects, reports an exception to the other ranks, and waits for
// them at the end. Rethrows what `body` throws. Only rank 0 logs to the terminal; the others do when they
// fail.
void run_as_rank(const Environment& environment, const std::function<void(Communicator&)>& body);

}  // namespace ssgpt::parallel
