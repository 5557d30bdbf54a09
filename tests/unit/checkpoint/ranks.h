// Ranks of one run as threads of the test, and moments shared out over them.
#pragma once

#include "checkpoint/state.h"
#include "parallel/exchange.h"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::checkpoint {

// Texts that the ranks left for each other.
class Texts {
 public:
  void set(const std::string& key, const std::string& text);
  // Throws parallel::PeerFailure after fail(), or after ten seconds: far more than a small save takes.
  std::string wait(const std::string& key, int64_t owner);
  void fail(int64_t rank);
  size_t size();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::string> texts_;
  std::optional<int64_t> failed_;
};

// `on_read`, where given, gets and may change each text that this rank reads.
using OnRead = std::function<void(std::string& text)>;
std::unique_ptr<parallel::Exchange> make_exchange(const std::shared_ptr<Texts>& texts, int64_t rank,
                                                  int64_t world_size, OnRead on_read = nullptr);

// Runs `rank_main` for each rank at the same time. A rank that throws fails in `texts`, as a run's watch over
// its ranks has it; the messages of their exceptions, by rank, empty where there was none.
std::vector<std::string> run_ranks(int64_t world_size, Texts& texts,
                                   const std::function<void(int64_t rank)>& rank_main);

// Cuts [0, size) at random places and deals the pieces to the ranks; every rank has at least one.
std::vector<std::vector<core::Range>> deal(int64_t size, int64_t world_size, uint64_t seed);

// The snapshot as a rank with these ranges holds it; they may go beyond the flat tensor. Padding holds 7e7.
Snapshot share_of(const Snapshot& whole, const std::vector<core::Range>& ranges);

}  // namespace ssgpt::checkpoint
