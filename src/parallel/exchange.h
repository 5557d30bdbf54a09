// Short texts that ranks leave for each other in the store: what they agree on at the start, the directory of
// a checkpoint. Knows no tensors and no collectives, so it may be used beside them.
#pragma once

#include "core/error.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::parallel {

// Another rank failed, or does not answer: the reason why this one ends. The message names the rank.
class PeerFailure : public core::Error {
 public:
  explicit PeerFailure(const std::string& message) : Error(core::ExitCode::kFailed, message) {}
};

// Called by one thread; a second thread takes an exchange of its own (Communicator::make_exchange). A name is
// used once by all ranks together.
class Exchange {
 public:
  // What an exchange needs of the processes around it.
  class Link {
   public:
    virtual ~Link() = default;
    virtual void set(const std::string& key, const std::string& text) = 0;
    // Waits until the key is set. Throws PeerFailure where a rank fails meanwhile, or where `owner`, who
    // should set it, has not within the timeout.
    virtual std::string wait(const std::string& key, int64_t owner) = 0;
    // This rank begins, or ends, something that it can complete without any other. By any thread.
    virtual void hold(bool /*begins*/) {}
  };

  // While it lives, the thread does something that it completes without any other rank: where one fails, this
  // process stays until it is done, for the timeout at most.
  class Hold {
   public:
    explicit Hold(Exchange& exchange) : link_(*exchange.link_) { link_.hold(/*begins=*/true); }
    ~Hold() { link_.hold(/*begins=*/false); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Link& link_;
  };

  Exchange();  // of one process alone
  Exchange(int64_t rank, int64_t world_size, std::unique_ptr<Link> link);
  ~Exchange();

  int64_t rank() const { return rank_; }
  int64_t world_size() const { return world_size_; }

  void post(std::string_view name, const std::string& text);
  std::string read(std::string_view name, int64_t rank);  // what `rank` posted; waits for it

  // Posts `text` and reads what every rank posted, by rank.
  std::vector<std::string> gather(std::string_view name, const std::string& text);

  // What `compute` gives on rank 0, on every rank; the others do not call it.
  std::string from_rank_zero(std::string_view name, const std::function<std::string()>& compute);

 private:
  int64_t rank_ = 0;
  int64_t world_size_ = 1;
  std::unique_ptr<Link> link_;
};

}  // namespace ssgpt::parallel
