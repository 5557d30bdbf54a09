// MASTER_ADDR and MASTER_PORT on the network: name resolution, binding on rank 0, waiting on the other ranks.
#pragma once

#include "parallel/environment.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <netdb.h>
#include <optional>
#include <string>

namespace ssgpt::parallel {

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

// Returns all addresses of MASTER_ADDR, IPv4 first, with MASTER_PORT. A name may become known only some time
// after a job's machines are up, so this retries for `timeout`. Throws core::UsageError if it is still
// unknown then.
Addresses resolve_master(const Environment& environment, std::chrono::seconds timeout);

// A bound socket that does not listen yet.
struct MasterSocket {
  int descriptor = -1;  // owned by the caller, or by the server that it is handed to
  std::string host;     // numeric address
};

// Binds a socket to the address of MASTER_ADDR, so that what rank 0 serves is reached through that address
// and no other. A run with one rank uses a free port of the loopback device. Returns nullopt if the server
// has to listen on every interface, with the reason in `why_not`: the address is not this machine's (a
// forwarded one), or ranks may come from other machines and MASTER_ADDR has several addresses, of which they
// may know another, or it is the loopback device here, to which distributions map a machine's own name.
// Throws core::RunError if the port is taken or this user may not use it.
std::optional<MasterSocket> bind_master_socket(const Environment& environment, const Addresses& addresses,
                                               std::string& why_not);

// Waits until a server accepts connections at one of the addresses; returns that address in numeric form.
// Throws core::RunError if none does within the timeout.
std::string wait_for_master(const Environment& environment, const Addresses& addresses,
                            std::chrono::seconds timeout);

// Throws core::RunError: rank 0 cannot use the port, for the system's `reason`.
[[noreturn]] void fail_to_serve(const Environment& environment, const std::string& reason);

}  // namespace ssgpt::parallel
