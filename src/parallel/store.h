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

// One connection, for one thread. Every function throws core::RunError where the server does not answer.
class Store {
 public:
  static constexpr std::chrono::seconds kAnswerTimeout{10};

  // Serves the store where the environment says that this rank does, and connects to it; waits for a server
  // that is not there yet. A run of one rank takes any free port: nobody else comes to it. Throws
  // core::RunError that names address and port where the port is taken, where nobody serves it within the
  // timeout, or where something else listens there (found within 20 s); core::UsageError for an address that
  // is none.
  static std::unique_ptr<Store> connect(const Environment& environment, std::chrono::seconds timeout);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // Another connection to the same server, for another thread. `answer_timeout`: how long one answer may
  // take.
  std::unique_ptr<Store> reconnect(std::chrono::seconds answer_timeout = kAnswerTimeout) const;

  // From here on, all keys of this connection, and of those made from it, lie below `space`, apart from
  // others.
  void enter(const std::string& space);

  void set(const std::string& key, const std::string& text);
  std::optional<std::string> get(const std::string& key);  // none: not set. Does not wait
  // Sets the key unless it is set; what it holds then.
  std::string set_once(const std::string& key, const std::string& text);
  int64_t add(const std::string& key, int64_t amount);  // the new sum

  // For a process group. Valid as long as this object, or whoever takes a reference to it.
  c10d::Store& c10d_store();

  const std::string& description()
      const;  // of the server, for messages: "Rank 0 with its store at host:port"

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ssgpt::parallel
