// The key-value store that all ranks share: c10d's TCPStore, served by rank 0 or by torchrun's agent.
#pragma once

#include "parallel/environment.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace c10d {
class Store;
}

namespace ssgpt::parallel {

// One connection, for use by one thread. Every function throws core::RunError if the server does not answer.
class Store {
 public:
  static constexpr std::chrono::seconds kAnswerTimeout{10};

  // Serves the store if `environment` assigns that to this rank, and connects to it; waits for a server that
  // is not up yet. A run with one rank uses any free port: nobody else connects to it. Throws core::RunError
  // that names address and port if the port is taken, if nobody serves it within the timeout, or if something
  // else listens there (found within 20 s); core::UsageError for an invalid address.
  static std::unique_ptr<Store> connect(const Environment& environment, std::chrono::seconds timeout);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Another connection to the same server, for another thread. `answer_timeout`: longest wait for an answer.
  std::unique_ptr<Store> reconnect(std::chrono::seconds answer_timeout = kAnswerTimeout) const;

  // From here on, all keys of this connection, and of those made from it, are prefixed with `space`.
  void enter(const std::string& space);

  void set(const std::string& key, const std::string& text);
  std::optional<std::string> get(const std::string& key);  // nullopt: not set. Does not wait
  // Sets the key unless it is set, and returns its value.
  std::string set_once(const std::string& key, const std::string& text);
  int64_t add(const std::string& key, int64_t amount);  // returns the new sum

  // For a process group. Valid while this object, or any holder of a reference to the store, lives.
  c10d::Store& c10d_store();

  // Names the server in messages: "Rank 0 with its store at host:port".
  const std::string& description() const;

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::parallel
