// What one rank needs of the others: texts, collectives, the word that a stop was asked for, and to hear of a
// failure. In one process that no launcher started it does nothing, at no cost.
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
  Communicator();  // of one process
  // Finds the other ranks; joins them within minutes or throws core::RunError.
  explicit Communicator(const Environment& environment);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int64_t rank() const;
  int64_t world_size() const;
  bool is_main() const { return rank() == 0; }  // the rank that logs and writes
  const Environment& environment() const;       // local_world_size is known

  // For the main thread.
  Exchange& exchange();
  // For another thread.
  std::unique_ptr<Exchange> make_exchange();

  // After which a rank that does not answer counts as lost, seconds; a value for the start serves before.
  void set_timeout(double timeout_s);

  // Connects the ranks for collectives on `device`. All ranks. timeout: after which a rank that does not
  // answer counts as lost, seconds.
  void open(at::Device device, double timeout_s);
  Collectives& collectives();

  // Blocking sums and gathers of a few numbers. All ranks, after open().
  double sum(double value);
  std::vector<int64_t> gather(int64_t value);  // by rank, bit for bit
  std::vector<double> gather_double(double value);

  // By how many steps the host may be ahead of its GPU when it comes to agree_on_stop().
  static constexpr int64_t kStepsAhead = 2;

  // The signal that any rank received, on all ranks after one and the same step; 0: go on. Called by every
  // rank after each step with its own signal (0: none). Costs one question to the store a step. A rank's next
  // step must complete only after all ranks began it, as it does with a collective in it. On a GPU, whose
  // steps are queued, the caller has waited for the one kStepsAhead before; the stop comes as many later.
  // There a rank that is gone is missed where the next call takes far longer than usual to come.
  int agree_on_stop(int64_t step, int signal);

  // While the caller waits for its GPU: throws PeerFailure where another rank failed or is lost.
  void check_peers() const;

  // The ordinary end, on all ranks, after which no collective follows. Throws PeerFailure where another rank
  // fails on its way there.
  void finish();
  // Of rank 0: it will fail() with `message` as soon as what is under way is complete: another rank that
  // fails with the same words leaves them to rank 0, and waits for it.
  void announce(const std::string& message) noexcept;
  // The end by an error of this rank; `message` reaches the others. Returns whether this rank should say it
  // on the terminal: not where rank 0 fails with the same words.
  bool fail(const std::string& message) noexcept;

 private:
  void wait_for_rank_zero(const std::string& message);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Throws core::UsageError on a rank that has `differences` from rank 0, naming the rank and them; returns on
// no rank before all have none (the others throw PeerFailure). All ranks, once for each `occasion`.
void agree(Exchange& exchange, std::string_view occasion, const std::vector<std::string>& differences);

// Runs `body` as one of the ranks that the environment says: connects, tells the others where it throws, and
// waits for them at the end. Rethrows what `body` throws. Only rank 0 logs to the terminal; the others do so
// where they fail.
void run_as_rank(const Environment& environment, const std::function<void(Communicator&)>& body);

}  // namespace ssgpt::parallel
