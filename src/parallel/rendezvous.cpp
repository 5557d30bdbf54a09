#include "parallel/rendezvous.h"

#include "core/error.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr std::chrono::milliseconds kPoll{50};
constexpr const char* kGenerationKey = "generation";  // the number of the newest start; 0: none

std::string space_of(int64_t generation) {
  return fmt::format("generation/{}", generation);
}
std::string size_key(int64_t generation) {
  return space_of(generation) + "/world_size";
}
// Holds the process that claims this rank.
std::string place_key(int64_t generation, int64_t rank) {
  return fmt::format("{}/place/{}", space_of(generation), rank);
}
// Holds the process that rank 0 accepted as this rank.
std::string taken_key(int64_t generation, int64_t rank) {
  return fmt::format("{}/taken/{}", space_of(generation), rank);
}

// Unique to this process, across machines and reused process ids.
std::string name_of_this_process() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  std::random_device device;
  return fmt::format("{}, process {} ({:08x}{:08x})", host, getpid(), device(), device());
}

std::string address_of(const Environment& environment) {
  return fmt::format("{}:{} (MASTER_ADDR:MASTER_PORT)", environment.master_address, environment.master_port);
}

// "Ranks 1, 4"
std::string names_of(const std::vector<int64_t>& ranks) {
  constexpr size_t kMost = 16;
  const std::vector<int64_t> first(ranks.begin(),
                                   ranks.begin() + static_cast<int64_t>(std::min(ranks.size(), kMost)));
  return fmt::format("{} {}{}", ranks.size() == 1 ? "Rank" : "Ranks", fmt::join(first, ", "),
                     ranks.size() > kMost ? fmt::format(" and {} more", ranks.size() - kMost) : "");
}

// Rank 0's part. Returns the number of this start.
int64_t gather_ranks(Store& store, const Environment& environment, Seconds timeout) {
  const int64_t generation = store.add(kGenerationKey, 1);
  store.set(size_key(generation), std::to_string(environment.world_size));
  std::vector<int64_t> missing(static_cast<size_t>(environment.world_size - 1));
  std::iota(missing.begin(), missing.end(), 1);
  for (const Clock::time_point begin = Clock::now();; std::this_thread::sleep_for(kPoll)) {
    std::erase_if(missing, [&](int64_t rank) {
      const std::optional<std::string> name = store.get(place_key(generation, rank));
      if (name) store.set(taken_key(generation, rank), *name);
      return name.has_value();
    });
    if (missing.empty()) return generation;
    if (store.add(kGenerationKey, 0) != generation) {
      throw core::RunError(
          "Another process came to the store at {} as rank 0, while this one waited for the other "
          "ranks: two starts of one run, or two runs, are running at the same time.",
          address_of(environment));
    }
    if (Clock::now() - begin > timeout) {
      throw core::RunError(
          "{} of {} did not reach the store at {} within {:g} s. Every rank must be started, and reach "
          "that machine and port.",
          names_of(missing), environment.world_size, address_of(environment), timeout.count());
    }
  }
}

// Claims this rank for process `name`; returns why it cannot have it, or nullopt on success.
std::optional<std::string> take_place(Store& store, const Environment& environment, int64_t generation,
                                      const std::string& name) {
  const std::string size = std::to_string(environment.world_size);
  const std::string size_there = store.get(size_key(generation)).value_or(size);
  if (size_there != size) {
    return fmt::format("it has {} rank{}, and this one {}", size_there, size_there == "1" ? "" : "s", size);
  }
  const std::string there = store.set_once(place_key(generation, environment.rank), name);
  if (there == name) return std::nullopt;
  return fmt::format("its rank {} is {}", environment.rank, there);
}

// The part of the other ranks. Returns the number of the start that rank 0 accepted this rank into. The
// newest number may belong to dead processes until this start's rank 0 arrives.
int64_t find_rank_zero(Store& store, const Environment& environment, Seconds timeout) {
  const std::string name = name_of_this_process();
  std::optional<std::string> refusal;
  for (const Clock::time_point begin = Clock::now();; std::this_thread::sleep_for(kPoll)) {
    if (const int64_t generation = store.add(kGenerationKey, 0); generation > 0) {
      refusal = take_place(store, environment, generation, name);
      if (!refusal && store.get(taken_key(generation, environment.rank)) == name) return generation;
    }
    const bool late = Clock::now() - begin > timeout;
    // A store served by rank 0 is as old as that rank, so it holds no earlier start.
    if (refusal && (late || !environment.agent_serves_store)) {
      throw core::RunError(
          "The store at {} is that of another run: {}. Runs on one machine need a MASTER_PORT each.",
          address_of(environment), *refusal);
    }
    if (late) {
      throw core::RunError("Rank 0 did not reach the store at {}: rank {} waited {:g} s for it.",
                           address_of(environment), environment.rank, timeout.count());
    }
  }
}

}  // namespace

void join_ranks(Store& store, const Environment& environment, Seconds timeout) {
  const int64_t generation = environment.rank == 0 ? gather_ranks(store, environment, timeout)
                                                   : find_rank_zero(store, environment, timeout);
  // Differs from all key names above, so no key of an exchange or of c10d collides with them.
  store.enter(space_of(generation) + "/run");
}

}  // namespace ssgpt::parallel
