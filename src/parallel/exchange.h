// Short texts that ranks exchange through the store: what they agree on at the start, the directory of a
// checkpoint. Independent of tensors and collectives, so it may be used concurrently with them.
#pragma once

#include "core/error.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::parallel {

// Another rank failed or does not answer, and so this one ends. The message names the rank.
class PeerFailure : public core::Error {
 public:
  explicit PeerFailure(const std::string& message) : Error(core::ExitCode::kFailed, message) {}
};

// Used by one thread; a second thread needs an exchange of its own (Communicator::make_exchange). All ranks
// together use a name once.
class Exchange {
 public:
  // Interface to the processes around it.
  class Link {
   public:
    virtual ~Link() = default;
    virtual void set(const std::string& key, const std::string& text) = 0;
    // Waits until the key is set. Throws PeerFailure if a rank fails meanwhile, or if `owner`, which should
    // set it, has not done so within the timeout.
    virtual std::string wait(const std::string& key, int64_t owner) = 0;
    // Marks the begin or end of work that this rank can complete without any other. Callable from any thread.
    virtual void hold(bool /*begins*/) {}
  };

  // While it lives, the thread does work that it can complete without any other rank: if one fails, this
  // process stays alive until the work is done, for the timeout at most.
  class Hold {
   public:
    explicit Hold(Exchange& exchange) : link_(*exchange.link_) { link_.hold(/*begins=*/true); }
    ~Hold() { link_.hold(/*begins=*/false); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Link& link_;
  };

  Exchange();  // for a single process
  Exchange(int64_t rank, int64_t world_size, std::unique_ptr<Link> link);
  ~Exchange();

  int64_t rank() const { return rank_; }
  int64_t world_size() const { return world_size_; }

  void post(std::string_view name, const std::string& text);
  std::string read(std::string_view name, int64_t rank);  // waits for the text posted by `rank`

  // Posts `text` and returns the texts of all ranks, indexed by rank.
  std::vector<std::string> gather(std::string_view name, const std::string& text);

  // Returns rank 0's result of `compute` on every rank; the others do not call it.
  std::string from_rank_zero(std::string_view name, const std::function<std::string()>& compute);

 private:
  int64_t rank_ = 0;
  int64_t world_size_ = 1;
  std::unique_ptr<Link> link_;
};

}  // namespace ssgpt::parallel
